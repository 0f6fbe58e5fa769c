resource "google_artifact_registry_repository" "images" {
  repository_id = var.prefix
  description   = "Images of the churn course, and of its function."
  location      = var.region
  format        = "DOCKER"
  kms_key_name  = local.kms_key

  # What no tag points to any more is kept for a month, the newest five of each image in any case.
  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "2592000s"
    }
  }

  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.agents]
}

locals {
  # What notebooks ask of their environment, on the driver and on the executors:
  # https://docs.cloud.google.com/dataproc-serverless/docs/concepts/properties (accessed 2026-11-24)
  notebook_environment = {
    CHURNLAB_CODE    = local.code_uri
    CHURNLAB_LAKE    = local.lake_uri
    CHURNLAB_DATASET = local.dataset
  }
}

# The Spark kernel in Workbench's launcher.
resource "google_dataproc_session_template" "notebooks" {
  # The provider keeps peripherals_config when it is taken away, and with it a cluster that is gone. Under
  # another name the template is a new one:
  # https://github.com/hashicorp/terraform-provider-google/blob/main/google/services/dataproc/resource_dataproc_session_template.go
  name = join("-", compact([
    "projects/${var.project_id}/locations/${var.region}/sessionTemplates/${var.prefix}-notebooks",
    var.create_history_server ? "history" : "",
    var.create_metastore ? "catalog" : "",
  ]))
  location = var.region

  jupyter_session {
    kernel       = "PYTHON"
    display_name = "Churn course: Spark ${local.products.spark_runtime.version}"
  }

  runtime_config {
    version = local.products.spark_runtime.version
    properties = merge(
      { for name, value in local.notebook_environment : "spark.dataproc.driverEnv.${name}" => value },
      { for name, value in local.notebook_environment : "spark.executorEnv.${name}" => value },
      {
        # By default a session may grow to a thousand executors.
        "spark.dynamicAllocation.maxExecutors" = "4"
        # As on the laptop, in churnlab/run/spark_conf/spark-defaults.conf.
        "spark.sql.execution.arrow.pyspark.enabled" = "true"
        "spark.sql.parquet.outputTimestampType"     = "TIMESTAMP_MICROS"
        "spark.sql.session.timeZone"                = "UTC"
      },
    )
  }

  environment_config {
    execution_config {
      service_account = google_service_account.accounts["batch"].email
      subnetwork_uri  = google_compute_subnetwork.spark.id
      staging_bucket  = google_storage_bucket.buckets["staging"].name
      kms_key         = local.kms_key
      idle_ttl        = "${var.idle_minutes * 60}s"
      ttl             = "43200s"

      authentication_config {
        user_workload_authentication_type = "SERVICE_ACCOUNT"
      }
    }

    dynamic "peripherals_config" {
      for_each = var.create_history_server || var.create_metastore ? [true] : []
      content {
        metastore_service = one(google_dataproc_metastore_service.catalog[*].id)

        dynamic "spark_history_server_config" {
          for_each = google_dataproc_cluster.history
          content {
            dataproc_cluster = spark_history_server_config.value.id
          }
        }
      }
    }
  }

  depends_on = [google_project_service.apis, google_project_iam_member.roles, google_kms_crypto_key_iam_member.agents]
}

# A cluster of one machine that shows the Spark UI of ended sessions and of batches that name it. It bills until it is deleted.
# https://docs.cloud.google.com/dataproc/docs/concepts/jobs/history-server
resource "google_dataproc_cluster" "history" {
  count = var.create_history_server ? 1 : 0

  name   = "${var.prefix}-history"
  region = var.region

  cluster_config {
    staging_bucket = google_storage_bucket.buckets["staging"].name
    temp_bucket    = google_storage_bucket.buckets["staging"].name

    master_config {
      num_instances = 1
      machine_type  = "e2-standard-2"
      disk_config {
        boot_disk_size_gb = 50
      }
    }

    gce_cluster_config {
      zone                   = var.zone
      subnetwork             = google_compute_subnetwork.spark.id
      internal_ip_only       = true
      service_account        = google_service_account.accounts["batch"].email
      service_account_scopes = ["cloud-platform"]

      shielded_instance_config {
        enable_secure_boot          = true
        enable_vtpm                 = true
        enable_integrity_monitoring = true
      }
    }

    software_config {
      image_version = local.products.history_server_image.version
      override_properties = {
        "dataproc:dataproc.allow.zero.workers" = "true"
        "spark:spark.history.fs.logDirectory"  = "gs://${google_storage_bucket.buckets["staging"].name}/*/spark-job-history"
      }
    }

    endpoint_config {
      enable_http_port_access = true
    }

    dynamic "encryption_config" {
      for_each = local.kms_key[*]
      content {
        kms_key_name = encryption_config.value
      }
    }
  }

  depends_on = [google_compute_firewall.internal, time_sleep.roles]
}

# Tables by name for sessions. The course does without: its tables are folders or BigQuery's.
resource "google_dataproc_metastore_service" "catalog" {
  count = var.create_metastore ? 1 : 0

  service_id          = "${var.prefix}-catalog"
  location            = var.region
  tier                = "DEVELOPER"
  deletion_protection = false

  hive_metastore_config {
    version = "3.1.2"
  }

  network_config {
    consumers {
      subnetwork = google_compute_subnetwork.spark.id
    }
  }

  dynamic "encryption_config" {
    for_each = local.kms_key[*]
    content {
      kms_key = encryption_config.value
    }
  }

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.agents]
}
