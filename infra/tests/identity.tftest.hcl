# Every account has the rights of its role and no other.

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

run "each_account_has_what_its_role_needs" {
  command = plan

  # On the project; "author" is there for the account, as nobody else is named.
  assert {
    condition = jsonencode({
      for member in distinct([for grant in google_project_iam_member.roles : grant.member]) : member => sort([
        for grant in google_project_iam_member.roles : grant.role if grant.member == member
      ])
      }) == jsonencode({
      "serviceAccount:churnlab-author@mock-project.iam.gserviceaccount.com" = [
        "roles/aiplatform.user", "roles/bigquery.jobUser", "roles/bigquery.readSessionUser", "roles/dataproc.serverlessEditor", "roles/logging.viewer", "roles/serviceusage.serviceUsageConsumer",
      ]
      "serviceAccount:churnlab-batch@mock-project.iam.gserviceaccount.com" = [
        "roles/bigquery.jobUser", "roles/bigquery.readSessionUser", "roles/dataproc.worker",
      ]
      "serviceAccount:churnlab-build@mock-project.iam.gserviceaccount.com"    = ["roles/logging.logWriter"]
      "serviceAccount:churnlab-function@mock-project.iam.gserviceaccount.com" = ["roles/aiplatform.user"]
      "serviceAccount:churnlab-pipeline@mock-project.iam.gserviceaccount.com" = [
        "roles/aiplatform.user", "roles/bigquery.jobUser", "roles/dataproc.serverlessEditor",
      ]
    })
    error_message = "An account has another role on the project than it needs."
  }

  assert {
    condition = jsonencode({
      for name, bucket in google_storage_bucket.buckets : name => sort([
        for grant in google_storage_bucket_iam_member.roles : "${split("@", grant.member)[0]} ${trimprefix(grant.role, "roles/storage.")}" if grant.bucket == bucket.name
      ])
      }) == jsonencode({
      lake = [
        "serviceAccount:churnlab-author legacyBucketReader",
        "serviceAccount:churnlab-author objectUser",
        "serviceAccount:churnlab-batch legacyBucketReader",
        "serviceAccount:churnlab-batch objectUser",
        "serviceAccount:churnlab-pipeline objectViewer",
      ]
      code = [
        "serviceAccount:churnlab-author objectUser",
        "serviceAccount:churnlab-batch objectViewer",
        "serviceAccount:churnlab-build objectViewer",
        "serviceAccount:churnlab-function objectViewer",
        "serviceAccount:churnlab-pipeline objectViewer",
      ]
      pipelines = [
        "serviceAccount:churnlab-author legacyBucketReader",
        "serviceAccount:churnlab-author objectUser",
        "serviceAccount:churnlab-function legacyBucketReader",
        "serviceAccount:churnlab-pipeline legacyBucketReader",
        "serviceAccount:churnlab-pipeline objectUser",
      ]
      staging = [
        "serviceAccount:churnlab-author objectUser",
        "serviceAccount:churnlab-batch legacyBucketReader",
        "serviceAccount:churnlab-batch objectUser",
      ]
    })
    error_message = "An account has another role on a bucket than it needs."
  }

  assert {
    condition = sort([
      for grant in google_service_account_iam_member.acts_as : "${split("@", grant.member)[0]} as ${split("@", reverse(split("/", grant.service_account_id))[0])[0]}"
      ]) == tolist([
      "serviceAccount:churnlab-author as churnlab-batch",
      "serviceAccount:churnlab-author as churnlab-pipeline",
      "serviceAccount:churnlab-function as churnlab-pipeline",
      "serviceAccount:churnlab-pipeline as churnlab-batch",
    ])
    error_message = "The chain of who acts as whom is another one."
  }

  assert {
    condition     = alltrue([for grant in google_service_account_iam_member.acts_as : grant.role == "roles/iam.serviceAccountUser"])
    error_message = "Acting as an account takes the role Service Account User, and no other."
  }

  assert {
    condition = sort([
      for grant in google_bigquery_dataset_iam_member.roles : "${split("@", grant.member)[0]} ${grant.role}"
      ]) == tolist([
      "serviceAccount:churnlab-author roles/bigquery.dataEditor",
      "serviceAccount:churnlab-batch roles/bigquery.dataEditor",
      "serviceAccount:churnlab-pipeline roles/bigquery.dataEditor",
    ])
    error_message = "An account has another role on the dataset than it needs."
  }

  assert {
    condition = sort([
      for grant in google_artifact_registry_repository_iam_member.roles : "${split("@", grant.member)[0]} ${grant.role}"
      ]) == tolist([
      "serviceAccount:churnlab-author roles/artifactregistry.reader",
      "serviceAccount:churnlab-batch roles/artifactregistry.reader",
      "serviceAccount:churnlab-build roles/artifactregistry.writer",
    ])
    error_message = "An account has another role on the images than it needs."
  }

  assert {
    condition = jsonencode({
      for who, grant in google_cloud_run_v2_service_iam_member.invokers : who => grant.role
    }) == jsonencode({ author = "roles/run.invoker" })
    error_message = "Somebody else may call the function."
  }

  assert {
    condition = (
      google_storage_bucket_iam_member.run_reports.bucket == "mock-project-churnlab-lake" &&
      one(google_storage_bucket_iam_member.run_reports.condition).expression == "resource.name.startsWith(\"projects/_/buckets/mock-project-churnlab-lake/objects/runs/\")"
    )
    error_message = "The pipeline may write elsewhere in the lake than to runs/."
  }

  assert {
    condition     = one(google_project_iam_member.function_source.condition).expression == "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
    error_message = "Cloud Build may read other buckets than those of functions' sources."
  }
}

run "the_author_may_do_what_the_notebooks_may" {
  command = plan

  variables {
    author           = "user:ada@example.com"
    create_workbench = true
  }

  assert {
    condition = toset([
      for grant in google_project_iam_member.roles : grant.role if grant.member == "user:ada@example.com"
      ]) == toset([
      for grant in google_project_iam_member.roles : grant.role if startswith(grant.member, "serviceAccount:churnlab-author@")
    ])
    error_message = "The author's rights on the project are not those of the author's account."
  }

  assert {
    condition = toset([
      for grant in google_storage_bucket_iam_member.roles : "${grant.bucket} ${grant.role}" if grant.member == "user:ada@example.com"
      ]) == toset([
      for grant in google_storage_bucket_iam_member.roles : "${grant.bucket} ${grant.role}" if startswith(grant.member, "serviceAccount:churnlab-author@")
    ])
    error_message = "The author's rights on buckets are not those of the author's account."
  }

  # Opening JupyterLab is acting as the account that it runs as.
  assert {
    condition = toset([
      for grant in google_service_account_iam_member.acts_as : split("@", reverse(split("/", grant.service_account_id))[0])[0] if grant.member == "user:ada@example.com"
    ]) == toset(["churnlab-author", "churnlab-batch", "churnlab-pipeline"])
    error_message = "The author can't open the notebooks, or can act as somebody else."
  }

  assert {
    condition     = google_workbench_instance_iam_member.person["person"].name == google_workbench_instance.notebooks[0].name
    error_message = "The author can't start the machine."
  }
}
