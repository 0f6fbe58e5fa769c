# Who may do what. One account a role; rights are bound on the resource wherever it has a policy of its
# own. What stands on the project is what Google offers no narrower place for.
# The roles and what is in them: https://docs.cloud.google.com/iam/docs/roles-permissions (accessed 2026-11-24)
locals {
  accounts = {
    author    = "Notebooks on Workbench, as what a person at work may do."
    batch     = "The Spark code of batches and of notebooks' sessions."
    pipeline  = "The training pipeline: starts batches, reads what they measured, promotes a model."
    function  = "The pipeline function: starts the pipeline, and nothing else."
    scheduler = "The schedule: calls the function."
    dag       = "Airflow: runs the scoring DAG."
    build     = "Cloud Build: builds the function and the images."
    serving   = "The server on Cloud Run: reads packages."
  }

  # The person who learns has the rights of the author's account.
  people = var.author == "" ? {} : { person = var.author }
  principals = merge(
    { for role, account in google_service_account.accounts : role => account.member },
    local.people,
  )
  authors = concat(["author"], keys(local.people))

  project_roles = merge(
    {
      # A batch's account has to be a Dataproc worker, and that role is only there on the project. It
      # brings rights on the objects of every bucket in it, which is one more reason for a project of
      # the course's own. https://docs.cloud.google.com/dataproc-serverless/docs/concepts/service-account
      batch = ["dataproc.worker", "bigquery.jobUser", "bigquery.readSessionUser"]
      # Registers the data in Vertex AI, writes the lineage; starts batches; promotes by a query.
      pipeline = ["aiplatform.user", "bigquery.jobUser", "dataproc.serverlessEditor"]
      function = ["aiplatform.user"]
      build    = ["logging.logWriter"]
    },
    { for who in local.authors : who => concat(
      # Consumer: to have calls counted on this project, and to see which services are on.
      ["aiplatform.user", "bigquery.jobUser", "bigquery.readSessionUser", "dataproc.serverlessEditor", "logging.viewer", "serviceusage.serviceUsageConsumer"],
      var.create_composer ? ["composer.user"] : [],
    ) },
    # https://docs.cloud.google.com/composer/docs/composer-3/access-control
    var.create_composer ? { dag = ["composer.worker", "dataproc.serverlessEditor"] } : {},
  )

  # legacyBucketReader is the right to read a bucket's own entry, which Spark does at the lake's root, and
  # the client of Vertex AI before it starts a pipeline: whether the bucket is there, and is this project's.
  bucket_roles = {
    lake = {
      objectUser         = concat(local.authors, ["batch"], var.create_composer ? ["dag"] : [])
      objectViewer       = ["pipeline"]
      legacyBucketReader = concat(local.authors, ["batch"])
    }
    code = {
      objectUser   = local.authors
      objectViewer = ["batch", "pipeline", "function", "build"]
    }
    # https://docs.cloud.google.com/gemini-enterprise-agent-platform/machine-learning/pipelines/configure-project
    pipelines = {
      objectUser         = concat(local.authors, ["pipeline"])
      legacyBucketReader = concat(local.authors, ["pipeline", "function"])
    }
    staging = {
      objectUser         = concat(local.authors, ["batch"])
      legacyBucketReader = ["batch"]
    }
    # `churnlab cloud upload` brings the DAG, `check` compares it.
    airflow = {
      objectUser = var.create_composer ? local.authors : []
    }
  }

  # The pipeline promotes a model: a row of model_registry. It comes by a staging table that is made and
  # dropped beside it, and who may make a table can be told for a dataset only, not for one table:
  # https://docs.cloud.google.com/bigquery/docs/access-control#bigquery.dataEditor (accessed 2026-11-25)
  dataset_roles = {
    dataEditor = concat(local.authors, ["batch", "pipeline"])
  }

  repository_roles = {
    reader = concat(local.authors, ["batch"])
    writer = ["build"]
  }

  # account: who may have work done in its name.
  acts_as = {
    author   = keys(local.people) # opens the notebooks that run as it
    batch    = concat(local.authors, ["pipeline"], var.create_composer ? ["dag"] : [])
    pipeline = concat(local.authors, ["function"])
  }

  # Airflow's machines are in a project of Google's: what they send is not internal, so without ALLOW_ALL
  # the right would be of no use. https://docs.cloud.google.com/run/docs/securing/ingress (accessed 2026-11-29)
  dag_may_retrain = var.create_composer && var.function_ingress == "ALLOW_ALL"
  invokers = concat(
    local.authors,
    var.create_schedule ? ["scheduler"] : [],
    local.dag_may_retrain ? ["dag"] : [],
  )

  server_callers = var.serving == "cloud-run" ? local.authors : []

  history_readers = var.create_history_server ? local.authors : []
}

resource "google_service_account" "accounts" {
  for_each = local.accounts

  account_id   = "${var.prefix}-${each.key}"
  display_name = "${var.prefix} ${each.key}"
  description  = each.value

  depends_on = [google_project_service.apis]
}

resource "google_project_iam_member" "roles" {
  for_each = merge([
    for who, roles in local.project_roles : { for role in roles : "${who} ${role}" => { who = who, role = role } }
  ]...)

  project = var.project_id
  role    = "roles/${each.value.role}"
  member  = local.principals[each.value.who]
}

# A function's source is copied to a bucket that Google makes and names, and built from there:
# https://docs.cloud.google.com/functions/docs/tutorials/terraform (accessed 2026-11-24)
resource "google_project_iam_member" "function_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = local.principals["build"]

  condition {
    title      = "sources of functions only"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
  }
}

resource "google_storage_bucket_iam_member" "roles" {
  for_each = merge(flatten([
    for bucket, roles in local.bucket_roles : [
      for role, members in roles : { for who in members : "${bucket} ${who} ${role}" => { bucket = bucket, who = who, role = role } }
    ]
  ])...)

  bucket = local.bucket_names[each.value.bucket]
  role   = "roles/storage.${each.value.role}"
  member = local.principals[each.value.who]
}

# The pipeline reads the lake and writes one thing to it: how its run ended.
resource "google_storage_bucket_iam_member" "run_reports" {
  bucket = google_storage_bucket.buckets["lake"].name
  role   = "roles/storage.objectUser"
  member = local.principals["pipeline"]

  condition {
    title      = "reports of runs only"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.buckets["lake"].name}/objects/runs/\")"
  }
}

# The server reads packages, and neither customers nor models.
resource "google_storage_bucket_iam_member" "packages" {
  count = var.serving == "cloud-run" ? 1 : 0

  bucket = google_storage_bucket.buckets["lake"].name
  role   = "roles/storage.objectViewer"
  member = local.principals["serving"]

  condition {
    title      = "packages of models only"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.buckets["lake"].name}/objects/packages/\")"
  }
}

resource "google_bigquery_dataset_iam_member" "roles" {
  for_each = merge([
    for role, members in local.dataset_roles : { for who in members : "${who} ${role}" => { who = who, role = role } }
  ]...)

  dataset_id = google_bigquery_dataset.churn.dataset_id
  role       = "roles/bigquery.${each.value.role}"
  member     = local.principals[each.value.who]

  lifecycle {
    replace_triggered_by = [google_bigquery_dataset.churn.id]
  }
}

resource "google_artifact_registry_repository_iam_member" "roles" {
  for_each = merge([
    for role, members in local.repository_roles : { for who in members : "${who} ${role}" => { who = who, role = role } }
  ]...)

  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.${each.value.role}"
  member     = local.principals[each.value.who]

  # Another key is another registry.
  lifecycle {
    replace_triggered_by = [google_artifact_registry_repository.images.id]
  }
}

resource "google_service_account_iam_member" "acts_as" {
  for_each = merge([
    for account, members in local.acts_as : { for who in members : "${who} as ${account}" => { who = who, account = account } }
  ]...)

  service_account_id = google_service_account.accounts[each.value.account].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.principals[each.value.who]
}

# A function of the second generation is a Cloud Run service of the same name; who may call it stands there.
resource "google_cloud_run_v2_service_iam_member" "invokers" {
  for_each = toset(local.invokers)

  location = var.region
  name     = google_cloudfunctions2_function.training.name
  role     = "roles/run.invoker"
  member   = local.principals[each.key]

  # A new function of the same name is a new service, with nobody on it:
  # https://github.com/hashicorp/terraform-provider-google/issues/18308
  lifecycle {
    replace_triggered_by = [google_cloudfunctions2_function.training.id]
  }
}

resource "google_cloud_run_v2_service_iam_member" "server_callers" {
  for_each = toset(local.server_callers)

  location = var.region
  name     = google_cloud_run_v2_service.champion[0].name
  role     = "roles/run.invoker"
  member   = local.principals[each.key]

  lifecycle {
    replace_triggered_by = [google_cloud_run_v2_service.champion[0].id]
  }
}

# The history server's pages are for who may use the cluster; of the roles that a cluster takes, this is the
# smallest that says so: https://docs.cloud.google.com/dataproc/docs/concepts/iam/granular-iam (accessed 2026-11-25)
resource "google_dataproc_cluster_iam_member" "history" {
  for_each = toset(local.history_readers)

  cluster = google_dataproc_cluster.history[0].name
  region  = var.region
  role    = "roles/dataproc.editor"
  member  = local.principals[each.key]

  lifecycle {
    replace_triggered_by = [google_dataproc_cluster.history[0].id]
  }
}

# Starting and stopping the machine; opening JupyterLab takes the right to act as its account instead:
# https://docs.cloud.google.com/gemini-enterprise-agent-platform/notebooks/workbench/instances/manage-access-jupyterlab
resource "google_workbench_instance_iam_member" "person" {
  for_each = var.create_workbench ? local.people : {}

  location = var.zone
  name     = google_workbench_instance.notebooks[0].name
  role     = "roles/notebooks.admin"
  member   = each.value

  lifecycle {
    replace_triggered_by = [google_workbench_instance.notebooks[0].id]
  }
}

# A role takes two minutes to arrive, sometimes seven and more, and no answer of Google's says that it has.
# What is built or started at once, in the name of an account that was made a moment ago, begins after this.
# https://docs.cloud.google.com/iam/docs/access-change-propagation (accessed 2026-11-25)
resource "time_sleep" "roles" {
  create_duration = "120s"

  # Waits again if the accounts are others, or have got roles that Composer, a key or the server asks for.
  triggers = {
    accounts = join(" ", values(google_service_account.accounts)[*].email)
    composer = tostring(var.create_composer)
    kms_key  = var.kms_key
    serving  = var.serving
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.roles,
    google_kms_crypto_key_iam_member.agents,
    google_project_iam_member.function_source,
    google_project_iam_member.roles,
    google_service_account_iam_member.acts_as,
    google_storage_bucket_iam_member.packages,
    google_storage_bucket_iam_member.roles,
  ]
}
