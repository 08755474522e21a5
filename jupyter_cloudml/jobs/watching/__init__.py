"""What is looked at between times: Git refs and S3 prefixes."""
