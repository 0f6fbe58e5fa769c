# The same job as notebook 11 makes by the client library.
resource "google_cloud_scheduler_job" "training" {
  count = var.create_schedule ? 1 : 0

  name             = "${var.prefix}-training"
  description      = "Starts the churn training pipeline by its function."
  region           = var.region
  schedule         = var.schedule
  time_zone        = var.time_zone
  attempt_deadline = "120s"

  retry_config {
    retry_count          = 5
    min_backoff_duration = "30s"
    max_backoff_duration = "600s"
    max_doublings        = 4
  }

  http_target {
    uri         = google_cloudfunctions2_function.training.service_config[0].uri
    http_method = "POST"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode({ parameters = {} }))

    oidc_token {
      service_account_email = google_service_account.accounts["scheduler"].email
      audience              = google_cloudfunctions2_function.training.service_config[0].uri
    }
  }

  depends_on = [google_project_service.apis, google_cloud_run_v2_service_iam_member.invokers]
}
