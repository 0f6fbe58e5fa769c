terraform {
  # 1.9 brought validations that look at more than one variable, 1.11 mocks that answer while planning.
  required_version = ">= 1.11"

  required_providers {
    # google-beta is not needed: every resource here is in this provider.
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
    # For one resource, the wait in identity.tf.
    time = {
      source  = "hashicorp/time"
      version = "~> 0.13"
    }
  }
}
