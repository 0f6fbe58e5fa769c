locals {
  apis = toset(concat(
    [
      "aiplatform.googleapis.com",
      "artifactregistry.googleapis.com",
      "bigquery.googleapis.com",
      "bigquerystorage.googleapis.com",
      "cloudasset.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudfunctions.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "compute.googleapis.com",
      "dataproc.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "run.googleapis.com",
      "serviceusage.googleapis.com",
      "storage.googleapis.com",
    ],
    var.create_workbench ? ["notebooks.googleapis.com"] : [],
    var.create_schedule ? ["cloudscheduler.googleapis.com"] : [],
    var.create_composer ? ["composer.googleapis.com"] : [],
    var.create_metastore ? ["metastore.googleapis.com"] : [],
    var.create_budget ? ["billingbudgets.googleapis.com"] : [],
    var.create_budget || var.alarm_email != "" ? ["monitoring.googleapis.com"] : [],
    var.restricted_apis ? ["dns.googleapis.com"] : [],
    var.kms_key == "" ? [] : ["cloudkms.googleapis.com", "workloadidentity.googleapis.com"],
  ))
}

resource "google_project_service" "apis" {
  for_each = local.apis

  project = var.project_id
  service = each.value
  # Something else in the project may use the API as well.
  disable_on_destroy = false
}
