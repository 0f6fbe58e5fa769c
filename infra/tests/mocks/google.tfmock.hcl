# What Google would answer, in the forms that the provider's own validators accept: the tests have to
# pass with the real provider as well.

mock_data "google_project" {
  defaults = {
    number = "123456789012"
  }
}

mock_data "google_storage_project_service_account" {
  defaults = {
    email_address = "service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    member        = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
  }
}

mock_data "google_bigquery_default_service_account" {
  defaults = {
    email  = "bq-123456789012@bigquery-encryption.iam.gserviceaccount.com"
    member = "serviceAccount:bq-123456789012@bigquery-encryption.iam.gserviceaccount.com"
  }
}

mock_resource "google_compute_network" {
  defaults = {
    id        = "projects/mock-project/global/networks/churnlab"
    self_link = "https://www.googleapis.com/compute/v1/projects/mock-project/global/networks/churnlab"
  }
}

mock_resource "google_compute_subnetwork" {
  defaults = {
    id        = "projects/mock-project/regions/us-central1/subnetworks/churnlab-spark"
    self_link = "https://www.googleapis.com/compute/v1/projects/mock-project/regions/us-central1/subnetworks/churnlab-spark"
  }
}

mock_resource "google_artifact_registry_repository" {
  defaults = {
    id           = "projects/mock-project/locations/us-central1/repositories/churnlab"
    name         = "churnlab"
    registry_uri = "us-central1-docker.pkg.dev/mock-project/churnlab"
  }
}

mock_resource "google_bigquery_dataset" {
  defaults = {
    id = "projects/mock-project/datasets/churnlab"
  }
}

mock_resource "google_cloudfunctions2_function" {
  defaults = {
    id  = "projects/mock-project/locations/us-central1/functions/churnlab-start-training"
    url = "https://us-central1-mock-project.cloudfunctions.net/churnlab-start-training"
    service_config = {
      service = "projects/mock-project/locations/us-central1/services/churnlab-start-training"
      uri     = "https://churnlab-start-training-abcdefghij-uc.a.run.app"
    }
  }
}

mock_resource "google_cloud_run_v2_service" {
  defaults = {
    id  = "projects/mock-project/locations/us-central1/services/churnlab-champion"
    uri = "https://churnlab-champion-abcdefghij-uc.a.run.app"
  }
}

mock_resource "google_vertex_ai_endpoint" {
  defaults = {
    id = "projects/mock-project/locations/us-central1/endpoints/4711"
  }
}

mock_resource "google_dataproc_cluster" {
  defaults = {
    id = "projects/mock-project/regions/us-central1/clusters/churnlab-history"
  }
}

mock_resource "google_dataproc_metastore_service" {
  defaults = {
    id = "projects/mock-project/locations/us-central1/services/churnlab-catalog"
  }
}

mock_resource "google_workbench_instance" {
  defaults = {
    id        = "projects/mock-project/locations/us-central1-a/instances/churnlab-notebooks"
    proxy_uri = "0123456789abcdef-dot-us-central1.notebooks.googleusercontent.com"
  }
}

mock_resource "google_composer_environment" {
  defaults = {
    id = "projects/mock-project/locations/us-central1/environments/churnlab-airflow"
  }
}

mock_resource "google_monitoring_notification_channel" {
  defaults = {
    name = "projects/mock-project/notificationChannels/1234567890"
  }
}

# An account each, so that a right of the wrong one is seen.

override_resource {
  target = google_service_account.accounts["author"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-author@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-author@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-author@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-author@mock-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.accounts["batch"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-batch@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-batch@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-batch@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-batch@mock-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.accounts["pipeline"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-pipeline@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-pipeline@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-pipeline@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-pipeline@mock-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.accounts["function"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-function@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-function@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-function@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-function@mock-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.accounts["scheduler"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-scheduler@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-scheduler@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-scheduler@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-scheduler@mock-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.accounts["dag"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-dag@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-dag@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-dag@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-dag@mock-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.accounts["build"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-build@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-build@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-build@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-build@mock-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.accounts["serving"]
  values = {
    id     = "projects/mock-project/serviceAccounts/churnlab-serving@mock-project.iam.gserviceaccount.com"
    name   = "projects/mock-project/serviceAccounts/churnlab-serving@mock-project.iam.gserviceaccount.com"
    email  = "churnlab-serving@mock-project.iam.gserviceaccount.com"
    member = "serviceAccount:churnlab-serving@mock-project.iam.gserviceaccount.com"
  }
}
