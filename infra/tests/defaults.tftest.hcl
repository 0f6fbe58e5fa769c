# What is there when only the project is named. A run takes seconds, so runs have many assertions.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "time" {
  override_during = plan
}

variables {
  project_id       = "mock-project"
  function_archive = "tests/fixtures/pipeline_function.zip"
}

run "nothing_is_public_nothing_bills_while_it_waits_and_data_is_kept" {
  command = plan

  assert {
    condition = length(google_storage_bucket.buckets) == 4 && alltrue([
      for bucket in google_storage_bucket.buckets : bucket.uniform_bucket_level_access && bucket.public_access_prevention == "enforced"
    ])
    error_message = "A bucket can be made public."
  }

  assert {
    condition     = length(setintersection(google_compute_firewall.internal.source_ranges, ["0.0.0.0/0", "::/0"])) == 0
    error_message = "The internet may come in."
  }

  assert {
    condition = alltrue([
      for ranges in [google_compute_firewall.internal.source_ranges, google_compute_firewall.internal.destination_ranges] :
      toset(ranges) == toset([google_compute_subnetwork.spark.ip_cidr_range])
    ])
    error_message = "The firewall opens more than the subnet to itself."
  }

  assert {
    condition     = google_compute_firewall.internal.direction == "INGRESS" && one(google_compute_firewall.internal.allow).protocol == "all"
    error_message = "Spark's driver and executors can't talk to each other."
  }

  assert {
    condition     = google_compute_subnetwork.spark.private_ip_google_access && !google_compute_network.course.auto_create_subnetworks
    error_message = "The subnet has no Private Google Access, or there are other subnets."
  }

  assert {
    condition     = google_cloudfunctions2_function.training.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    error_message = "The internet may knock at the function."
  }

  assert {
    condition     = !anytrue(values(output.toggles))
    error_message = "Something that has to be asked for is on."
  }

  assert {
    condition = length(concat(
      google_billing_budget.course[*].id,
      google_cloud_run_v2_service.champion[*].id,
      google_cloud_scheduler_job.training[*].id,
      google_composer_environment.airflow[*].id,
      google_compute_router_nat.nat[*].id,
      google_dataproc_cluster.history[*].id,
      google_dataproc_metastore_service.catalog[*].id,
      google_vertex_ai_endpoint.champion[*].id,
      google_workbench_instance.notebooks[*].id,
    )) == 0
    error_message = "Something that bills is made without being asked for."
  }

  assert {
    condition     = google_cloudfunctions2_function.training.service_config[0].min_instance_count == 0
    error_message = "The function keeps a machine waiting."
  }

  assert {
    condition     = google_dataproc_session_template.notebooks.environment_config[0].execution_config[0].idle_ttl == "3600s"
    error_message = "An idle session of the notebooks does not end after an hour."
  }

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.buckets : bucket.versioning[0].enabled && !bucket.force_destroy])
    error_message = "A bucket has no versions, or goes with what is in it."
  }

  assert {
    condition = alltrue([
      for bucket in google_storage_bucket.buckets : anytrue([
        for rule in bucket.lifecycle_rule : anytrue([for condition in rule.condition : try(condition.days_since_noncurrent_time > 0, false)])
      ])
    ])
    error_message = "Old versions are kept, and billed, for ever."
  }

  # The lake and the code are yours; only what can be made again goes by its age.
  assert {
    condition = toset([
      for name, bucket in google_storage_bucket.buckets : name if anytrue([
        for rule in bucket.lifecycle_rule :
        anytrue([for action in rule.action : action.type == "Delete"]) && anytrue([for condition in rule.condition : try(condition.age > 0, false)])
      ])
    ]) == toset(["pipelines", "staging"])
    error_message = "Another bucket than the pipelines' and the staging one deletes by age."
  }

  assert {
    condition     = alltrue([for table in google_bigquery_table.tables : table.deletion_protection]) && !google_bigquery_dataset.churn.delete_contents_on_destroy
    error_message = "Tables may be destroyed with their rows."
  }

  assert {
    condition     = length(google_bigquery_table.tables) > 0 && keys(google_bigquery_table.tables) == keys(jsondecode(file("bigquery_tables.json")))
    error_message = "The tables are not those of bigquery_tables.json."
  }

  assert {
    condition = alltrue([
      for table in google_bigquery_table.tables :
      table.time_partitioning[0].type == "DAY" && table.time_partitioning[0].field == "pipeline_execution_ts"
    ])
    error_message = "A table is not partitioned by the day of pipeline_execution_ts."
  }

  assert {
    condition = alltrue([
      for table in google_bigquery_table.tables : anytrue([
        for field in jsondecode(table.schema) : field.name == "pipeline_execution_ts" && field.type == "TIMESTAMP"
      ])
    ])
    error_message = "A table has no timestamp pipeline_execution_ts."
  }

  assert {
    condition = alltrue([
      for table in google_bigquery_table.tables :
      length(table.clustering) > 0 && length(setsubtract(table.clustering, [for field in jsondecode(table.schema) : field.name])) == 0
    ])
    error_message = "A table is clustered by a column that it does not have."
  }

  assert {
    condition = length(setsubtract(
      ["batch_scoring.py", "churn.zip", "explain.py", "hyperparameter_tuning.py", "model_training.py", "preprocessing.py"],
      keys(google_storage_bucket_object.scripts),
    )) == 0
    error_message = "A step's script is not uploaded."
  }

  assert {
    condition     = alltrue([for script in google_storage_bucket_object.scripts : startswith("gs://${script.bucket}/${script.name}", "${output.code_uri}/")])
    error_message = "A script is not below code_uri."
  }

  assert {
    condition     = contains(keys(google_storage_bucket_object.notebooks), "03-preprocessing.ipynb")
    error_message = "The notebooks are not uploaded."
  }

  assert {
    condition     = google_storage_bucket_object.function.name == "functions/pipeline_function-${filemd5("tests/fixtures/pipeline_function.zip")}.zip"
    error_message = "Another archive would not be another object, and not be deployed."
  }

  assert {
    condition = google_cloudfunctions2_function.training.service_config[0].environment_variables == tomap({
      PROJECT               = "mock-project"
      LOCATION              = "us-central1"
      LAKE                  = "gs://mock-project-churnlab-lake"
      DATASET               = "bigquery://mock-project.churnlab"
      CODE_URI              = "gs://mock-project-churnlab-code/scripts"
      PIPELINE_ROOT         = "gs://mock-project-churnlab-pipelines/runs"
      TEMPLATE              = "gs://mock-project-churnlab-code/pipelines/training_pipeline.yaml"
      SERVICE_ACCOUNT       = "churnlab-pipeline@mock-project.iam.gserviceaccount.com"
      BATCH_SERVICE_ACCOUNT = "churnlab-batch@mock-project.iam.gserviceaccount.com"
      SUBNETWORK            = "projects/mock-project/regions/us-central1/subnetworks/churnlab-spark"
    })
    error_message = "The function's settings are not what pipeline_function.py reads."
  }

  assert {
    condition = alltrue([
      for name, value in {
        CHURNLAB_CODE    = "gs://mock-project-churnlab-code/scripts"
        CHURNLAB_LAKE    = "gs://mock-project-churnlab-lake"
        CHURNLAB_DATASET = "bigquery://mock-project.churnlab"
      } :
      google_dataproc_session_template.notebooks.runtime_config[0].properties["spark.dataproc.driverEnv.${name}"] == value &&
      google_dataproc_session_template.notebooks.runtime_config[0].properties["spark.executorEnv.${name}"] == value
    ])
    error_message = "The session's driver or executors miss a place."
  }

  assert {
    condition     = time_sleep.roles.create_duration == "120s" && toset(keys(time_sleep.roles.triggers)) == toset(["accounts", "composer", "kms_key", "serving"])
    error_message = "Nothing waits for new roles to arrive."
  }

  assert {
    condition     = google_dataproc_session_template.notebooks.environment_config[0].execution_config[0].service_account == output.service_accounts["batch"]
    error_message = "Notebooks' Spark code does not run as the batch account."
  }

  assert {
    condition = (
      google_dataproc_session_template.notebooks.runtime_config[0].version == yamldecode(file("facts.yaml")).products.spark_runtime.version &&
      google_cloudfunctions2_function.training.build_config[0].runtime == yamldecode(file("facts.yaml")).products.function_runtime.version
    )
    error_message = "A version is not that of facts.yaml."
  }

  assert {
    condition = jsonencode({
      project_id         = output.project_id
      region             = output.region
      zone               = output.zone
      lake_uri           = output.lake_uri
      code_uri           = output.code_uri
      pipeline_root      = output.pipeline_root
      template_uri       = output.template_uri
      staging_bucket     = output.staging_bucket
      dataset            = output.dataset
      dataset_id         = output.dataset_id
      network            = output.network
      subnetwork         = output.subnetwork
      session_template   = output.session_template
      artifact_registry  = output.artifact_registry
      function_name      = output.function_name
      function_url       = output.function_url
      labels             = output.labels
      history_server     = output.history_server
      workbench_instance = output.workbench_instance
      workbench_url      = output.workbench_url
      scheduler_job      = output.scheduler_job
      airflow            = output.composer_environment
      kms_key            = output.kms_key
      batch_image        = output.batch_image
      serving_image      = output.serving_image
      serving_url        = output.serving_url
      serving_endpoint   = output.serving_endpoint
      serving_machine    = output.serving_machine
      }) == jsonencode({
      project_id         = "mock-project"
      region             = "us-central1"
      zone               = "us-central1-a"
      lake_uri           = "gs://mock-project-churnlab-lake"
      code_uri           = "gs://mock-project-churnlab-code/scripts"
      pipeline_root      = "gs://mock-project-churnlab-pipelines/runs"
      template_uri       = "gs://mock-project-churnlab-code/pipelines/training_pipeline.yaml"
      staging_bucket     = "mock-project-churnlab-staging"
      dataset            = "bigquery://mock-project.churnlab"
      dataset_id         = "churnlab"
      network            = "churnlab"
      subnetwork         = "projects/mock-project/regions/us-central1/subnetworks/churnlab-spark"
      session_template   = "projects/mock-project/locations/us-central1/sessionTemplates/churnlab-notebooks"
      artifact_registry  = "us-central1-docker.pkg.dev/mock-project/churnlab"
      function_name      = "churnlab-start-training"
      function_url       = "https://churnlab-start-training-abcdefghij-uc.a.run.app"
      labels             = { course = "churnlab", managed-by = "terraform" }
      history_server     = ""
      workbench_instance = ""
      workbench_url      = ""
      scheduler_job      = ""
      airflow            = ""
      kms_key            = ""
      batch_image        = ""
      serving_image      = ""
      serving_url        = ""
      serving_endpoint   = ""
      serving_machine    = ""
    })
    error_message = "An output is not what the profile expects."
  }

  assert {
    condition = jsonencode(output.service_accounts) == jsonencode({
      for role in ["author", "batch", "pipeline", "function", "scheduler", "dag", "build", "serving"] :
      role => "churnlab-${role}@mock-project.iam.gserviceaccount.com"
    })
    error_message = "The accounts are not those of the roles."
  }
}

run "what_you_ask_for_is_done" {
  command = plan

  variables {
    allow_data_deletion = true
    batch_image         = "us-central1-docker.pkg.dev/mock-project/churnlab/batch:1"
    function_ingress    = "ALLOW_ALL"
    idle_minutes        = 30
    labels              = { team = "data" }
    prefix              = "churn-eu"
    region              = "europe-west4"
    zone                = "europe-west4-b"
  }

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.buckets : bucket.force_destroy && bucket.location == "europe-west4"])
    error_message = "A bucket with objects stops terraform destroy, or is elsewhere."
  }

  assert {
    condition     = alltrue([for table in google_bigquery_table.tables : !table.deletion_protection]) && google_bigquery_dataset.churn.delete_contents_on_destroy
    error_message = "A table stops terraform destroy."
  }

  assert {
    condition     = google_cloudfunctions2_function.training.service_config[0].environment_variables["CONTAINER_IMAGE"] == output.batch_image
    error_message = "The function does not hand the image on."
  }

  assert {
    condition     = google_cloudfunctions2_function.training.service_config[0].ingress_settings == "ALLOW_ALL"
    error_message = "The function can't be called from elsewhere."
  }

  assert {
    condition     = google_dataproc_session_template.notebooks.environment_config[0].execution_config[0].idle_ttl == "1800s"
    error_message = "A session does not end after the minutes asked for."
  }

  assert {
    condition     = jsonencode(output.labels) == jsonencode({ course = "churnlab", managed-by = "terraform", team = "data" })
    error_message = "The labels are not added to."
  }

  assert {
    condition     = output.dataset == "bigquery://mock-project.churn_eu" && google_compute_network.course.name == "churn-eu"
    error_message = "The names do not begin with the prefix."
  }
}

run "a_missing_archive_is_named" {
  command = plan

  variables {
    function_archive = "tests/fixtures/nothing.zip"
  }

  expect_failures = [google_storage_bucket_object.function]
}
