locals {
  # days: after which an old version is deleted, and after which an object is, whatever it is (0: never).
  buckets = {
    lake      = { old_versions = 7, objects = 0 }
    code      = { old_versions = 30, objects = 0 }
    pipelines = { old_versions = 7, objects = 90 }
    staging   = { old_versions = 1, objects = 14 }
  }
  # With Airflow's own, which is made in composer.tf.
  bucket_names = merge(
    { for name, bucket in google_storage_bucket.buckets : name => bucket.name },
    { for bucket in google_storage_bucket.airflow : "airflow" => bucket.name },
  )
}

resource "google_storage_bucket" "buckets" {
  for_each = local.buckets

  # Names of buckets are shared by the whole world; a project's id is its own.
  name                        = "${var.project_id}-${var.prefix}-${each.key}"
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.allow_data_deletion

  versioning {
    enabled = true
  }

  # Versions do what soft delete does, and end sooner: Spark deletes a lot, and both are billed.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = each.value.old_versions
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.objects == 0 ? [] : [each.value.objects]
    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
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
