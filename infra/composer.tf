# Airflow, which bills from the minute it is there until it is deleted, whether a DAG runs or not.

# Composer would make a bucket of its own, and leave it behind when the environment is destroyed.
# https://docs.cloud.google.com/composer/docs/composer-3/custom-bucket (accessed 2026-11-24)
resource "google_storage_bucket" "airflow" {
  count = var.create_composer ? 1 : 0

  name                        = "${var.project_id}-${var.prefix}-airflow"
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  # Airflow fills it with logs. Of yours it holds the DAG, which comes from here.
  force_destroy = true

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 7
      with_state                 = "ARCHIVED"
    }
  }

  dynamic "encryption" {
    for_each = local.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.agents]
}

resource "google_composer_environment" "airflow" {
  count = var.create_composer ? 1 : 0

  name   = "${var.prefix}-airflow"
  region = var.region

  storage_config {
    bucket = google_storage_bucket.airflow[0].name
  }

  config {
    environment_size = "ENVIRONMENT_SIZE_SMALL"
    # Tasks and builds without the internet; Google's APIs are reached privately.
    enable_private_environment = true
    enable_private_builds_only = true

    node_config {
      service_account = google_service_account.accounts["dag"].email
    }

    software_config {
      image_version            = local.products.composer_image.version
      airflow_config_overrides = { core-dags_are_paused_at_creation = "True" }
      # What scripts_generated/scoring_dag.py reads.
      env_variables = merge(
        {
          CHURNLAB_LAKE            = local.lake_uri
          CHURNLAB_CODE_URI        = local.code_uri
          CHURNLAB_PROJECT         = var.project_id
          CHURNLAB_REGION          = var.region
          CHURNLAB_DATASET         = local.dataset
          CHURNLAB_SERVICE_ACCOUNT = google_service_account.accounts["batch"].email
          CHURNLAB_SUBNETWORK      = google_compute_subnetwork.spark.id
          CHURNLAB_STAGING_BUCKET  = google_storage_bucket.buckets["staging"].name
        },
        var.kms_key == "" ? {} : { CHURNLAB_KMS_KEY = var.kms_key },
        var.batch_image == "" ? {} : { CHURNLAB_BATCH_IMAGE = var.batch_image },
        local.dag_may_retrain ? { CHURNLAB_FUNCTION_URL = google_cloudfunctions2_function.training.service_config[0].uri } : {},
      )
    }

    dynamic "encryption_config" {
      for_each = local.kms_key[*]
      content {
        kms_key_name = encryption_config.value
      }
    }
  }

  depends_on = [time_sleep.roles]
}
