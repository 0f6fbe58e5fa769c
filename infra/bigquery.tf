locals {
  # From the data contracts of notebook 07, by `churnlab export`.
  tables = jsondecode(file("${path.module}/bigquery_tables.json"))
}

resource "google_bigquery_dataset" "churn" {
  dataset_id                 = replace(var.prefix, "-", "_")
  description                = "The tables of the churn course."
  location                   = var.region
  delete_contents_on_destroy = var.allow_data_deletion

  dynamic "default_encryption_configuration" {
    for_each = local.kms_key[*]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.agents]
}

resource "google_bigquery_table" "tables" {
  for_each = local.tables

  dataset_id          = google_bigquery_dataset.churn.dataset_id
  table_id            = each.key
  description         = each.value.description
  schema              = jsonencode(each.value.schema)
  clustering          = each.value.clustering
  deletion_protection = !var.allow_data_deletion

  time_partitioning {
    type  = "DAY"
    field = "pipeline_execution_ts"
  }

  dynamic "encryption_configuration" {
    for_each = local.kms_key[*]
    content {
      kms_key_name = encryption_configuration.value
    }
  }
}
