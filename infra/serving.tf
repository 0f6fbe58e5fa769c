# The server of the packaged champion, in one place of two, or nowhere. Its image is infra/images/serving.
locals {
  serving_on_run      = var.serving == "cloud-run"
  serving_on_endpoint = var.serving == "endpoint"
}

# It follows the lake's pointer to the champion's package, so there has to be one when it starts.
resource "google_cloud_run_v2_service" "champion" {
  count = local.serving_on_run ? 1 : 0

  name        = "${var.prefix}-champion"
  description = "Answers for one customer by the packaged champion."
  location    = var.region
  # From this network only, and of what comes from there only who has run.invoker (identity.tf).
  ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  # It holds nothing; what it answers by is in the lake.
  deletion_protection = false

  template {
    service_account                  = google_service_account.accounts["serving"].email
    timeout                          = "60s"
    max_instance_request_concurrency = 40
    encryption_key                   = local.kms_key

    scaling {
      min_instance_count = var.serving_min_instances
      max_instance_count = 2
    }

    containers {
      image = var.serving_image

      ports {
        container_port = 8080
      }

      env {
        name  = "AIP_STORAGE_URI"
        value = "${local.lake_uri}/packages"
      }

      resources {
        limits = { cpu = "1", memory = "1Gi" }
        # Billed while it starts and answers, and not between two requests.
        # https://docs.cloud.google.com/run/docs/configuring/billing-settings (accessed 2026-11-29)
        cpu_idle          = true
        startup_cpu_boost = true
      }

      # It listens once the package is loaded and has repeated its examples.
      startup_probe {
        period_seconds    = 5
        failure_threshold = 12

        http_get {
          path = "/health"
        }
      }
    }

    # Inside a perimeter a call counts as the network's own only if it goes out through it.
    dynamic "vpc_access" {
      for_each = var.restricted_apis ? [google_compute_subnetwork.spark.name] : []
      content {
        egress = "ALL_TRAFFIC"

        network_interfaces {
          network    = google_compute_network.course.name
          subnetwork = vpc_access.value
        }
      }
    }
  }

  # It reads its package at once, so its account has to have its right before.
  depends_on = [google_dns_record_set.restricted, time_sleep.roles]
}

# Empty: `churnlab cloud model` deploys the champion to it, which makes a machine, and bills.
resource "google_vertex_ai_endpoint" "champion" {
  #checkov:skip=CKV2_GCP_33:it answers by Google's API and only to who has aiplatform.endpoints.predict; a private one needs a peering or an attachment of the network, which the course does without
  count = local.serving_on_endpoint ? 1 : 0

  # A number without a leading zero, of at most ten digits: that is how the service names endpoints.
  name         = tostring(1 + parseint(substr(sha256("${var.project_id}/${var.prefix}"), 0, 7), 16))
  display_name = "${var.prefix}-champion"
  description  = "Answers for one customer by the packaged champion."
  location     = var.region
  region       = var.region

  dynamic "encryption_spec" {
    for_each = local.kms_key[*]
    content {
      kms_key_name = encryption_spec.value
    }
  }

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.agents]
}
