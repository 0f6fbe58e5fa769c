# A mistake in a variable is refused before anything is planned. Each run makes one in many variables.

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

run "a_first_kind_of_mistake_is_refused" {
  command = plan

  variables {
    project_id             = "My Course"
    zone                   = "europe-west4-a"
    prefix                 = "Churn"
    labels                 = { Team = "data" }
    author                 = "ada@example.com"
    workbench_machine_type = "large"
    idle_minutes           = 5
    notebooks_repository   = "https://example.com/course.git"
    schedule               = "every monday"
    time_zone              = "CET+1"
    function_archive       = "function.tar"
    function_ingress       = "EVERYBODY"
    serving                = "vertex"
    alarm_email            = "ada"
    batch_image            = "docker.io/library/python:3.11"
    subnet_cidr            = "10.20.0.1/20"
    kms_key                = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    billing_account        = "012345"
    budget_amount          = 0
    budget_email           = "ada"
  }

  expect_failures = [
    var.project_id,
    var.zone,
    var.prefix,
    var.labels,
    var.author,
    var.workbench_machine_type,
    var.idle_minutes,
    var.notebooks_repository,
    var.schedule,
    var.time_zone,
    var.function_archive,
    var.function_ingress,
    var.serving,
    var.alarm_email,
    var.batch_image,
    var.subnet_cidr,
    var.kms_key,
    var.billing_account,
    var.budget_amount,
    var.budget_email,
  ]
}

run "a_second_kind_of_mistake_is_refused" {
  command = plan

  variables {
    project_id           = "123456789012"
    zone                 = "us-central1"
    prefix               = "a-very-long-prefix"
    labels               = { team = "Data" }
    author               = "group:all@example.com"
    idle_minutes         = 2000
    notebooks_repository = "https://user:token@example.com/course.git"
    create_nat           = true
    schedule             = "60 6 * * 1"
    time_zone            = "Europe/berlin"
    batch_image          = "us-central1-docker.pkg.dev/mock-project/churnlab/batch"
    serving              = "endpoint"
    serving_image        = "churnlab/serving:1"
    serving_machine_type = "E2"
    subnet_cidr          = "34.0.0.0/20"
    kms_key              = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
    create_budget        = true
    budget_amount        = 12.5
    alarm_email          = "user:ada@example.com"
    budget_email         = "user:ada@example.com"
  }

  expect_failures = [
    var.project_id,
    var.prefix,
    var.labels,
    var.author,
    var.idle_minutes,
    var.notebooks_repository,
    var.schedule,
    var.time_zone,
    var.batch_image,
    var.serving_image,
    var.serving_machine_type,
    var.subnet_cidr,
    var.kms_key,
    var.budget_amount,
    var.alarm_email,
    var.budget_email,
    var.billing_account,
    var.zone,
  ]
}

run "a_third_kind_of_mistake_is_refused" {
  command = plan

  variables {
    project_id           = "demo"
    region               = "us"
    author               = "allUsers"
    idle_minutes         = 30.5
    notebooks_repository = "git@example.com:course.git"
    create_nat           = true
    schedule             = "0 6 * * 1 2026"
    serving              = "cloud-run"
    subnet_cidr          = "10.20.0.0/28"
    billing_account      = "012345-6789ab-cdef01"
  }

  expect_failures = [
    var.project_id,
    var.region,
    var.author,
    var.idle_minutes,
    var.notebooks_repository,
    var.schedule,
    var.serving,
    var.subnet_cidr,
    var.billing_account,
  ]
}

run "an_instance_that_nothing_would_use_is_refused" {
  command = plan

  variables {
    serving               = "endpoint"
    serving_image         = "us-central1-docker.pkg.dev/mock-project/churnlab/serving:1"
    serving_min_instances = 1
  }

  expect_failures = [
    var.serving_min_instances,
  ]
}

run "more_instances_than_may_grow_are_refused" {
  command = plan

  variables {
    serving               = "cloud-run"
    serving_image         = "us-central1-docker.pkg.dev/mock-project/churnlab/serving:1"
    serving_min_instances = 3
  }

  expect_failures = [
    var.serving_min_instances,
  ]
}

run "what_looks_unusual_and_is_right_is_accepted" {
  command = plan

  variables {
    author               = "serviceAccount:robot@other-project.iam.gserviceaccount.com"
    batch_image          = "europe-docker.pkg.dev/mock-project/churnlab/images/batch@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    create_nat           = true
    kms_key              = "projects/other-project/locations/us-central1/keyRings/course/cryptoKeys/data"
    labels               = { cost-centre = "", team = "42" }
    notebooks_repository = "https://git.example.com/~ada/course.git"
    schedule             = "*/15 6-18/2 1,15 jan-jun MON-FRI"
    subnet_cidr          = "192.168.16.0/24"
    time_zone            = "America/Argentina/Buenos_Aires"
  }
}
