# With everything on, and applied: the order of creation has no circle, and what is only known then is checked.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id       = "mock-project"
  function_archive = "tests/fixtures/pipeline_function.zip"
}

run "no_role_is_primitive_and_nobody_is_everybody" {
  command = apply

  variables {
    author                = "user:ada@example.com"
    create_workbench      = true
    create_schedule       = true
    create_composer       = true
    create_history_server = true
    create_metastore      = true
    create_nat            = true
    create_budget         = true
    billing_account       = "012345-6789AB-CDEF01"
    budget_email          = "ada@example.com"
    alarm_email           = "ada@example.com"
    function_ingress      = "ALLOW_ALL"
    restricted_apis       = true
    serving               = "cloud-run"
    serving_image         = "us-central1-docker.pkg.dev/mock-project/churnlab/serving:1"
    kms_key               = "projects/mock-project/locations/us-central1/keyRings/course/cryptoKeys/data"
  }

  assert {
    condition = length(setintersection(
      ["roles/owner", "roles/editor", "roles/viewer", "roles/browser", "roles/reader", "roles/writer", "roles/admin"],
      concat(
        values(google_artifact_registry_repository_iam_member.roles)[*].role,
        values(google_bigquery_dataset_iam_member.roles)[*].role,
        values(google_cloud_run_v2_service_iam_member.invokers)[*].role,
        values(google_cloud_run_v2_service_iam_member.server_callers)[*].role,
        google_storage_bucket_iam_member.packages[*].role,
        values(google_kms_crypto_key_iam_member.agents)[*].role,
        values(google_dataproc_cluster_iam_member.history)[*].role,
        values(google_project_iam_member.agents)[*].role,
        values(google_project_iam_member.roles)[*].role,
        values(google_service_account_iam_member.acts_as)[*].role,
        values(google_storage_bucket_iam_member.roles)[*].role,
        values(google_workbench_instance_iam_member.person)[*].role,
        [google_project_iam_member.function_source.role, google_storage_bucket_iam_member.run_reports.role],
      ),
    )) == 0
    error_message = "Somebody has a primitive role."
  }

  # Owners of a service, so to say: none on the project.
  assert {
    condition     = !anytrue([for grant in google_project_iam_member.roles : can(regex("(?i)(admin|owner)$", grant.role))])
    error_message = "Somebody administers a service of the whole project."
  }

  assert {
    condition = alltrue([
      for member in concat(
        values(google_artifact_registry_repository_iam_member.roles)[*].member,
        values(google_bigquery_dataset_iam_member.roles)[*].member,
        values(google_cloud_run_v2_service_iam_member.invokers)[*].member,
        values(google_cloud_run_v2_service_iam_member.server_callers)[*].member,
        google_storage_bucket_iam_member.packages[*].member,
        values(google_kms_crypto_key_iam_member.agents)[*].member,
        values(google_dataproc_cluster_iam_member.history)[*].member,
        values(google_project_iam_member.agents)[*].member,
        values(google_project_iam_member.roles)[*].member,
        values(google_service_account_iam_member.acts_as)[*].member,
        values(google_storage_bucket_iam_member.roles)[*].member,
        values(google_workbench_instance_iam_member.person)[*].member,
        [google_project_iam_member.function_source.member, google_storage_bucket_iam_member.run_reports.member],
      ) : member == "user:ada@example.com" || can(regex("^serviceAccount:[^@]+@[a-z0-9-]+\\.iam\\.gserviceaccount\\.com$", member))
    ])
    error_message = "A right is given to somebody who is neither an account of ours nor the author."
  }

  # With a key of your own, all that keeps data uses it, and each service's agent may.
  assert {
    condition = alltrue([
      for key in concat(
        [for bucket in google_storage_bucket.buckets : bucket.encryption[0].default_kms_key_name],
        [for table in google_bigquery_table.tables : table.encryption_configuration[0].kms_key_name],
        [
          google_storage_bucket.airflow[0].encryption[0].default_kms_key_name,
          google_bigquery_dataset.churn.default_encryption_configuration[0].kms_key_name,
          google_artifact_registry_repository.images.kms_key_name,
          google_cloudfunctions2_function.training.kms_key_name,
          google_cloud_run_v2_service.champion[0].template[0].encryption_key,
          google_dataproc_session_template.notebooks.environment_config[0].execution_config[0].kms_key,
          google_dataproc_cluster.history[0].cluster_config[0].encryption_config[0].kms_key_name,
          google_dataproc_metastore_service.catalog[0].encryption_config[0].kms_key,
          google_composer_environment.airflow[0].config[0].encryption_config[0].kms_key_name,
          # What batches are told: by the function's pipeline, and by the DAG.
          google_cloudfunctions2_function.training.service_config[0].environment_variables["KMS_KEY"],
          google_composer_environment.airflow[0].config[0].software_config[0].env_variables["CHURNLAB_KMS_KEY"],
          google_workbench_instance.notebooks[0].gce_setup[0].boot_disk[0].kms_key,
          google_workbench_instance.notebooks[0].gce_setup[0].data_disks[0].kms_key,
        ],
      ) : key == var.kms_key
    ])
    error_message = "Something keeps data under another key."
  }

  assert {
    condition = toset(values(google_kms_crypto_key_iam_member.agents)[*].member) == toset([
      "serviceAccount:bq-123456789012@bigquery-encryption.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@cloudcomposer-accounts.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@compute-system.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@dataproc-accounts.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcf-admin-robot.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcp-sa-aiplatform.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcp-sa-artifactregistry.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcp-sa-metastore.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gcp-sa-notebooks.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com",
      "serviceAccount:service-123456789012@serverless-robot-prod.iam.gserviceaccount.com",
    ])
    error_message = "An agent can't use the key, or somebody else can."
  }

  # One that is asked for comes without the role that Google would have given it.
  assert {
    condition = jsonencode({
      for grant in google_project_iam_member.agents : trimsuffix(trimprefix(grant.member, "serviceAccount:service-123456789012@"), ".iam.gserviceaccount.com") => grant.role
      }) == jsonencode({
      cloudcomposer-accounts  = "roles/composer.serviceAgent"
      compute-system          = "roles/compute.serviceAgent"
      dataproc-accounts       = "roles/dataproc.serviceAgent"
      gcf-admin-robot         = "roles/cloudfunctions.serviceAgent"
      gcp-sa-aiplatform       = "roles/aiplatform.serviceAgent"
      gcp-sa-artifactregistry = "roles/artifactregistry.serviceAgent"
      gcp-sa-metastore        = "roles/metastore.serviceAgent"
      gcp-sa-notebooks        = "roles/notebooks.serviceAgent"
      serverless-robot-prod   = "roles/run.serviceAgent"
    })
    error_message = "An agent lacks its role, or has another."
  }

  assert {
    condition     = length(google_project_iam_member.agents) == length(google_workload_identity_service_agent.agents)
    error_message = "An agent is made and has no role."
  }

  assert {
    condition = alltrue([
      for agent in google_workload_identity_service_agent.agents : startswith(agent.parent, "projects/123456789012/locations/global/serviceProducers/")
    ])
    error_message = "An agent is made in another project."
  }

  assert {
    condition = (
      toset(google_billing_budget.course[0].budget_filter[0].projects) == toset(["projects/123456789012"]) &&
      google_billing_budget.course[0].amount[0].specified_amount[0].units == "20" &&
      contains(google_billing_budget.course[0].threshold_rules[*].threshold_percent, 0.5) &&
      contains(google_billing_budget.course[0].threshold_rules[*].spend_basis, "FORECASTED_SPEND") &&
      toset(google_billing_budget.course[0].all_updates_rule[0].monitoring_notification_channels) == toset(google_monitoring_notification_channel.budget[*].name)
    )
    error_message = "The budget watches another project, or warns nobody in time."
  }

  assert {
    condition     = alltrue(values(output.toggles)) && output.kms_key == var.kms_key && output.composer_environment == "churnlab-airflow" && output.scheduler_job == "churnlab-training"
    error_message = "The outputs do not say what is on."
  }
}
