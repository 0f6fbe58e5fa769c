# Each switch adds its resources, and of the others none is more or less.

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
  author           = "user:ada@example.com"

  # How many there are of what a switch could change; not a variable of infra/.
  without = {
    accounts        = 8
    acts_as         = 7
    agent_roles     = 0
    agents          = 0
    airflow_buckets = 0
    airflows        = 0
    apis            = 15
    bucket_grants   = 24
    buckets         = 4
    budget_channels = 0
    budgets         = 0
    dags            = 0
    dataset_grants  = 4
    dns_records     = 0
    dns_zones       = 0
    endpoints       = 0
    histories       = 0
    history_grants  = 0
    image_grants    = 4
    invokers        = 2
    key_grants      = 0
    machine_grants  = 0
    machines        = 0
    metastores      = 0
    nats            = 0
    project_grants  = 20
    routers         = 0
    schedules       = 0
    server_callers  = 0
    server_grants   = 0
    servers         = 0
  }
}

run "create_workbench_adds_its_resources_only" {
  command = plan

  variables {
    create_workbench = true
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { apis = var.without.apis + 1, machines = 1, machine_grants = 1 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition     = google_workbench_instance.notebooks[0].gce_setup[0].disable_public_ip && google_workbench_instance.notebooks[0].gce_setup[0].metadata["idle-timeout-seconds"] == "3600"
    error_message = "The machine has a public address, or does not shut down when it is idle."
  }

  # Idle shutdown needs guest attributes, and they are on unless somebody says no:
  # https://docs.cloud.google.com/vertex-ai/docs/workbench/instances/manage-metadata (accessed 2026-11-25)
  assert {
    condition     = !contains(keys(google_workbench_instance.notebooks[0].gce_setup[0].metadata), "enable-guest-attributes")
    error_message = "The machine is told what it does by itself."
  }

  assert {
    condition = (
      one(google_workbench_instance.notebooks[0].gce_setup[0].service_accounts).email == output.service_accounts["author"] &&
      length(coalesce(google_workbench_instance.notebooks[0].instance_owners, [])) == 0
    )
    error_message = "JupyterLab is not opened by the right to act as the author's account."
  }

  assert {
    condition     = output.workbench_instance == "churnlab-notebooks" && output.workbench_url == "https://0123456789abcdef-dot-us-central1.notebooks.googleusercontent.com"
    error_message = "The outputs do not name the machine."
  }

  assert {
    condition     = strcontains(google_storage_bucket_object.workbench_start.content, "gs://mock-project-churnlab-code/notebooks/*") && !strcontains(google_storage_bucket_object.workbench_start.content, "git clone")
    error_message = "The notebooks do not come from the bucket."
  }
}

run "create_schedule_adds_its_resources_only" {
  command = plan

  variables {
    create_schedule = true
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { apis = var.without.apis + 1, schedules = 1, invokers = var.without.invokers + 1 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition = (
      google_cloud_scheduler_job.training[0].http_target[0].oidc_token[0].service_account_email == output.service_accounts["scheduler"] &&
      google_cloud_scheduler_job.training[0].http_target[0].oidc_token[0].audience == output.function_url &&
      google_cloud_scheduler_job.training[0].http_target[0].uri == output.function_url
    )
    error_message = "The schedule does not call the function as the scheduler's account."
  }

  assert {
    condition     = jsonencode(jsondecode(base64decode(google_cloud_scheduler_job.training[0].http_target[0].body))) == jsonencode({ parameters = {} })
    error_message = "A tick says more than that the pipeline shall run: lake and dataset belong to the deployment."
  }

  assert {
    condition     = google_cloud_run_v2_service_iam_member.invokers["scheduler"].member == "serviceAccount:${output.service_accounts["scheduler"]}"
    error_message = "The scheduler's account may not call the function."
  }
}

run "create_composer_adds_its_resources_only" {
  command = plan

  variables {
    create_composer = true
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { apis = var.without.apis + 1, airflows = 1, airflow_buckets = 1, dags = 1, project_grants = var.without.project_grants + 4, bucket_grants = var.without.bucket_grants + 3, acts_as = var.without.acts_as + 1 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition = (
      google_storage_bucket.airflow[0].public_access_prevention == "enforced" && google_storage_bucket.airflow[0].uniform_bucket_level_access &&
      google_composer_environment.airflow[0].storage_config[0].bucket == google_storage_bucket.airflow[0].name
    )
    error_message = "Airflow's bucket is not ours, or can be made public."
  }

  assert {
    condition     = google_composer_environment.airflow[0].config[0].enable_private_environment && one(google_composer_environment.airflow[0].config[0].node_config).service_account == output.service_accounts["dag"]
    error_message = "Airflow is not private, or does not run as its account."
  }

  assert {
    condition = jsonencode(google_composer_environment.airflow[0].config[0].software_config[0].env_variables) == jsonencode({
      CHURNLAB_CODE_URI        = output.code_uri
      CHURNLAB_DATASET         = output.dataset
      CHURNLAB_LAKE            = output.lake_uri
      CHURNLAB_PROJECT         = output.project_id
      CHURNLAB_REGION          = output.region
      CHURNLAB_SERVICE_ACCOUNT = output.service_accounts["batch"]
      CHURNLAB_STAGING_BUCKET  = output.staging_bucket
      CHURNLAB_SUBNETWORK      = output.subnetwork
    })
    error_message = "The DAG's environment is not what scoring_dag.py reads."
  }

  assert {
    condition = toset([
      for grant in google_project_iam_member.roles : grant.role if startswith(grant.member, "serviceAccount:churnlab-dag@")
    ]) == toset(["roles/composer.worker", "roles/dataproc.serverlessEditor"])
    error_message = "The DAG's account has other roles on the project than it needs."
  }

  assert {
    condition = toset([
      for grant in google_storage_bucket_iam_member.roles : "${split("@", grant.member)[0]} ${grant.role}" if grant.bucket == google_storage_bucket.airflow[0].name
    ]) == toset(["serviceAccount:churnlab-author roles/storage.objectUser", "user:ada roles/storage.objectUser"])
    error_message = "The author can't bring the DAG, or somebody else can."
  }
}

run "create_history_server_adds_its_resources_only" {
  command = plan

  variables {
    create_history_server = true
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { histories = 1, history_grants = 2 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition = (
      google_dataproc_cluster.history[0].cluster_config[0].gce_cluster_config[0].internal_ip_only &&
      google_dataproc_cluster.history[0].cluster_config[0].master_config[0].num_instances == 1 &&
      google_dataproc_cluster.history[0].cluster_config[0].software_config[0].override_properties["dataproc:dataproc.allow.zero.workers"] == "true"
    )
    error_message = "The history server is not one machine without a public address."
  }

  # The right to see its pages, which the roles on the project lack.
  assert {
    condition = toset([
      for grant in google_dataproc_cluster_iam_member.history : "${split("@", grant.member)[0]} ${grant.role} ${grant.cluster}"
    ]) == toset(["serviceAccount:churnlab-author roles/dataproc.editor churnlab-history", "user:ada roles/dataproc.editor churnlab-history"])
    error_message = "The author can't see the history server's pages, or somebody else can."
  }

  assert {
    condition     = google_dataproc_session_template.notebooks.environment_config[0].peripherals_config[0].spark_history_server_config[0].dataproc_cluster == output.history_server
    error_message = "Sessions do not know the history server."
  }

  # Or sessions would know it still when it is gone.
  assert {
    condition     = endswith(output.session_template, "/churnlab-notebooks-history")
    error_message = "The template is not made anew for another history server."
  }
}

run "create_metastore_adds_its_resources_only" {
  command = plan

  variables {
    create_metastore = true
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { apis = var.without.apis + 1, metastores = 1 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition     = google_dataproc_session_template.notebooks.environment_config[0].peripherals_config[0].metastore_service == google_dataproc_metastore_service.catalog[0].id
    error_message = "Sessions do not know the metastore."
  }

  assert {
    condition     = endswith(output.session_template, "/churnlab-notebooks-catalog")
    error_message = "The template is not made anew for another metastore."
  }
}

run "create_nat_adds_its_resources_only" {
  command = plan

  variables {
    create_nat           = true
    notebooks_repository = "https://example.com/course.git"
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { routers = 1, nats = 1 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition     = one(google_compute_router_nat.nat[0].subnetwork).name == output.subnetwork && google_compute_router_nat.nat[0].source_subnetwork_ip_ranges_to_nat == "LIST_OF_SUBNETWORKS"
    error_message = "The way out is not that of the one subnet."
  }

  assert {
    condition     = strcontains(google_storage_bucket_object.workbench_start.content, "git clone --depth 1 \"https://example.com/course.git\"")
    error_message = "The notebooks do not come from the repository."
  }
}

run "restricted_apis_adds_its_resources_only" {
  command = plan

  variables {
    restricted_apis = true
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { apis = var.without.apis + 1, dns_zones = 7, dns_records = 14 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition = alltrue([
      for record in google_dns_record_set.restricted : toset(record.rrdatas) == toset(["199.36.153.4", "199.36.153.5", "199.36.153.6", "199.36.153.7"])
    ])
    error_message = "A name of Google's leads out of the perimeter."
  }

  assert {
    condition     = alltrue([for zone in google_dns_managed_zone.restricted : zone.visibility == "private"]) && google_cloudfunctions2_function.training.service_config[0].direct_vpc_egress == "VPC_EGRESS_ALL_TRAFFIC"
    error_message = "The names are public, or the function goes around the network."
  }
}

run "create_budget_adds_its_resources_only" {
  command = plan

  variables {
    create_budget   = true
    billing_account = "012345-6789AB-CDEF01"
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { apis = var.without.apis + 2, budgets = 1 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition     = length(google_billing_budget.course[0].all_updates_rule) == 0
    error_message = "The e-mails do not go to the account's administrators."
  }
}

run "kms_key_adds_its_resources_only" {
  command = plan

  variables {
    kms_key = "projects/mock-project/locations/us-central1/keyRings/course/cryptoKeys/data"
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { agents = 6, agent_roles = 6, apis = var.without.apis + 2, key_grants = 8 }))
    error_message = "Something else is made than what was asked for."
  }
}

run "serving_on_cloud_run_adds_its_resources_only" {
  command = plan

  variables {
    serving       = "cloud-run"
    serving_image = "us-central1-docker.pkg.dev/mock-project/churnlab/serving:1"
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { servers = 1, server_grants = 1, server_callers = 2 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition     = google_cloud_run_v2_service.champion[0].ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "The internet may knock at the server."
  }

  assert {
    condition = toset([
      for grant in google_cloud_run_v2_service_iam_member.server_callers : "${split("@", grant.member)[0]} ${grant.role} ${grant.name}"
    ]) == toset(["serviceAccount:churnlab-author roles/run.invoker churnlab-champion", "user:ada roles/run.invoker churnlab-champion"])
    error_message = "The author can't call the server, or somebody else can."
  }

  assert {
    condition = (
      google_cloud_run_v2_service.champion[0].template[0].service_account == output.service_accounts["serving"] &&
      google_storage_bucket_iam_member.packages[0].member == "serviceAccount:${output.service_accounts["serving"]}" &&
      google_storage_bucket_iam_member.packages[0].role == "roles/storage.objectViewer" &&
      one(google_storage_bucket_iam_member.packages[0].condition).expression == "resource.name.startsWith(\"projects/_/buckets/mock-project-churnlab-lake/objects/packages/\")"
    )
    error_message = "The server does not run as its account, or reads more than packages."
  }

  assert {
    condition = length([
      for grant in concat(values(google_project_iam_member.roles)[*].member, values(google_storage_bucket_iam_member.roles)[*].member, values(google_service_account_iam_member.acts_as)[*].member) :
      grant if startswith(grant, "serviceAccount:churnlab-serving@")
    ]) == 0
    error_message = "The server's account may do something else."
  }

  assert {
    condition = (
      google_cloud_run_v2_service.champion[0].template[0].scaling[0].min_instance_count == 0 &&
      google_cloud_run_v2_service.champion[0].template[0].scaling[0].max_instance_count == 2 &&
      google_cloud_run_v2_service.champion[0].template[0].containers[0].resources[0].cpu_idle
    )
    error_message = "The server bills while nobody asks, or grows without an end."
  }

  assert {
    condition = (
      google_cloud_run_v2_service.champion[0].template[0].containers[0].image == output.serving_image &&
      one(google_cloud_run_v2_service.champion[0].template[0].containers[0].ports).container_port == 8080 &&
      one(google_cloud_run_v2_service.champion[0].template[0].containers[0].env).name == "AIP_STORAGE_URI" &&
      one(google_cloud_run_v2_service.champion[0].template[0].containers[0].env).value == "${output.lake_uri}/packages" &&
      google_cloud_run_v2_service.champion[0].template[0].containers[0].startup_probe[0].http_get[0].path == "/health"
    )
    error_message = "The container is not started as server.py reads it."
  }

  assert {
    condition     = output.serving_url == "https://churnlab-champion-abcdefghij-uc.a.run.app" && output.serving_endpoint == "" && output.serving_machine == ""
    error_message = "The outputs do not name the server."
  }
}

run "an_instance_that_waits_has_to_be_asked_for" {
  command = plan

  variables {
    serving               = "cloud-run"
    serving_image         = "us-central1-docker.pkg.dev/mock-project/churnlab/serving:1"
    serving_min_instances = 1
  }

  assert {
    condition     = google_cloud_run_v2_service.champion[0].template[0].scaling[0].min_instance_count == 1
    error_message = "No instance waits."
  }
}

run "serving_on_an_endpoint_adds_its_resources_only" {
  command = plan

  variables {
    serving       = "endpoint"
    serving_image = "us-central1-docker.pkg.dev/mock-project/churnlab/serving:1"
  }

  assert {
    condition = jsonencode({
      accounts        = length(google_service_account.accounts)
      acts_as         = length(google_service_account_iam_member.acts_as)
      agent_roles     = length(google_project_iam_member.agents)
      agents          = length(google_workload_identity_service_agent.agents)
      airflow_buckets = length(google_storage_bucket.airflow)
      airflows        = length(google_composer_environment.airflow)
      apis            = length(google_project_service.apis)
      bucket_grants   = length(google_storage_bucket_iam_member.roles)
      buckets         = length(google_storage_bucket.buckets)
      budget_channels = length(google_monitoring_notification_channel.budget)
      budgets         = length(google_billing_budget.course)
      dags            = length(google_storage_bucket_object.dag)
      dataset_grants  = length(google_bigquery_dataset_iam_member.roles)
      dns_records     = length(google_dns_record_set.restricted)
      dns_zones       = length(google_dns_managed_zone.restricted)
      endpoints       = length(google_vertex_ai_endpoint.champion)
      histories       = length(google_dataproc_cluster.history)
      history_grants  = length(google_dataproc_cluster_iam_member.history)
      image_grants    = length(google_artifact_registry_repository_iam_member.roles)
      invokers        = length(google_cloud_run_v2_service_iam_member.invokers)
      key_grants      = length(google_kms_crypto_key_iam_member.agents)
      machine_grants  = length(google_workbench_instance_iam_member.person)
      machines        = length(google_workbench_instance.notebooks)
      metastores      = length(google_dataproc_metastore_service.catalog)
      nats            = length(google_compute_router_nat.nat)
      project_grants  = length(google_project_iam_member.roles)
      routers         = length(google_compute_router.nat)
      schedules       = length(google_cloud_scheduler_job.training)
      server_callers  = length(google_cloud_run_v2_service_iam_member.server_callers)
      server_grants   = length(google_storage_bucket_iam_member.packages)
      servers         = length(google_cloud_run_v2_service.champion)
    }) == jsonencode(merge(var.without, { endpoints = 1 }))
    error_message = "Something else is made than what was asked for."
  }

  assert {
    condition     = can(regex("^[1-9][0-9]{0,9}$", google_vertex_ai_endpoint.champion[0].name))
    error_message = "The endpoint's name is not one that Vertex AI takes."
  }

  assert {
    condition     = output.serving_endpoint == "projects/mock-project/locations/us-central1/endpoints/4711" && output.serving_machine == "e2-standard-2" && output.serving_url == ""
    error_message = "The outputs do not name the endpoint."
  }
}
