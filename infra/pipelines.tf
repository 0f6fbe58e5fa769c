# Vertex AI Pipelines has nothing to create beforehand: a run needs a compiled pipeline, a folder for its
# artifacts and an account (identity.tf).
locals {
  pipeline_root = "gs://${google_storage_bucket.buckets["pipelines"].name}/runs"
  template_uri  = "gs://${google_storage_bucket.buckets["code"].name}/${google_storage_bucket_object.pipeline.name}"
}

resource "google_storage_bucket_object" "pipeline" {
  bucket       = google_storage_bucket.buckets["code"].name
  name         = "pipelines/training_pipeline.yaml"
  source       = "${path.module}/../scripts_generated/training_pipeline.yaml"
  content_type = "application/yaml"
}
