locals {
  function_archive = startswith(var.function_archive, "/") ? var.function_archive : "${path.module}/${var.function_archive}"

  # What scripts_generated/pipeline_function.py reads.
  function_settings = merge(
    {
      PROJECT               = var.project_id
      LOCATION              = var.region
      LAKE                  = local.lake_uri
      DATASET               = local.dataset
      CODE_URI              = local.code_uri
      PIPELINE_ROOT         = local.pipeline_root
      TEMPLATE              = local.template_uri
      SERVICE_ACCOUNT       = google_service_account.accounts["pipeline"].email
      BATCH_SERVICE_ACCOUNT = google_service_account.accounts["batch"].email
      SUBNETWORK            = google_compute_subnetwork.spark.id
    },
    var.batch_image == "" ? {} : { CONTAINER_IMAGE = var.batch_image },
    var.kms_key == "" ? {} : { KMS_KEY = var.kms_key },
  )
}

resource "google_storage_bucket_object" "function" {
  bucket = google_storage_bucket.buckets["code"].name
  # Another content is another object, and that makes Terraform deploy the function again.
  name         = "functions/pipeline_function-${try(filemd5(local.function_archive), "missing")}.zip"
  source       = local.function_archive
  content_type = "application/zip"

  lifecycle {
    precondition {
      condition     = fileexists(local.function_archive)
      error_message = "There is no ${local.function_archive}. Make it with `churnlab cloud package`, or name another one in function_archive."
    }
  }
}

resource "google_cloudfunctions2_function" "training" {
  name         = "${var.prefix}-start-training"
  description  = "Starts the churn training pipeline."
  location     = var.region
  kms_key_name = local.kms_key

  build_config {
    runtime           = local.products.function_runtime.version
    entry_point       = "start_training"
    docker_repository = google_artifact_registry_repository.images.id
    service_account   = google_service_account.accounts["build"].id

    source {
      storage_source {
        bucket = google_storage_bucket.buckets["code"].name
        object = google_storage_bucket_object.function.name
      }
    }
  }

  service_config {
    service_account_email = google_service_account.accounts["function"].email
    environment_variables = local.function_settings
    available_memory      = "1Gi"
    timeout_seconds       = 120
    max_instance_count    = 3
    min_instance_count    = 0
    # Cloud Scheduler and this network; nobody else gets as far as the question whether they may.
    # https://docs.cloud.google.com/run/docs/securing/ingress (accessed 2026-11-24)
    ingress_settings = var.function_ingress

    # Inside a perimeter a call counts as the network's own only if it goes out through it.
    direct_vpc_egress = var.restricted_apis ? "VPC_EGRESS_ALL_TRAFFIC" : null

    dynamic "direct_vpc_network_interface" {
      for_each = var.restricted_apis ? [google_compute_subnetwork.spark.name] : []
      content {
        network    = google_compute_network.course.name
        subnetwork = direct_vpc_network_interface.value
      }
    }
  }

  # The build begins at once, so its account has to have its rights before.
  depends_on = [google_dns_record_set.restricted, time_sleep.roles]
}
