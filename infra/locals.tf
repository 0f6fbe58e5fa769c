locals {
  products = yamldecode(file("${path.module}/facts.yaml")).products
  labels   = merge({ course = "churnlab", managed-by = "terraform" }, var.labels)
  # Provider arguments are left out by null, not by "".
  kms_key  = var.kms_key == "" ? null : var.kms_key
  lake_uri = "gs://${google_storage_bucket.buckets["lake"].name}"
  code_uri = "gs://${google_storage_bucket.buckets["code"].name}/scripts"
  dataset  = "bigquery://${var.project_id}.${google_bigquery_dataset.churn.dataset_id}"
}
