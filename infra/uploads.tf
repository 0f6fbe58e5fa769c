# What the services run. The provider compares an object's checksum with the file's, so `terraform apply`
# after `make export` brings what changed; `churnlab cloud upload` does the same without Terraform.
# The compiled pipeline is in pipelines.tf, the function's archive in function.tf.
resource "google_storage_bucket_object" "scripts" {
  for_each = fileset("${path.module}/../scripts_generated", "{*.py,churn.zip}")

  bucket       = google_storage_bucket.buckets["code"].name
  name         = "scripts/${each.value}"
  source       = "${path.module}/../scripts_generated/${each.value}"
  content_type = endswith(each.value, ".zip") ? "application/zip" : "text/x-python"
}

resource "google_storage_bucket_object" "notebooks" {
  for_each = fileset("${path.module}/../notebooks", "*.ipynb")

  bucket       = google_storage_bucket.buckets["code"].name
  name         = "notebooks/${each.value}"
  source       = "${path.module}/../notebooks/${each.value}"
  content_type = "application/x-ipynb+json"
}

resource "google_storage_bucket_object" "workbench_start" {
  bucket       = google_storage_bucket.buckets["code"].name
  name         = "workbench/start.sh"
  content_type = "text/x-shellscript"
  content = templatefile("${path.module}/workbench/start.sh.tftpl", {
    repository    = var.notebooks_repository
    notebooks_uri = "gs://${google_storage_bucket.buckets["code"].name}/notebooks"
    environment   = local.notebook_environment
  })
}

resource "google_storage_bucket_object" "dag" {
  count = var.create_composer ? 1 : 0

  bucket       = google_storage_bucket.airflow[0].name
  name         = "dags/scoring_dag.py"
  source       = "${path.module}/../scripts_generated/scoring_dag.py"
  content_type = "text/x-python"

  # Composer makes the folders of its bucket first.
  depends_on = [google_composer_environment.airflow]
}
