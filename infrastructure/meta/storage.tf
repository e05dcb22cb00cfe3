# One private bucket: what the orchestrator is made of, and the results.

locals {
  # The only part of the bucket that the instance's role may touch.
  prefix = "orchestrator"
}

resource "aws_s3_bucket" "orchestrator" {
  bucket_prefix = "bench-"
  force_destroy = true
  tags          = { Name = local.name }
}

resource "aws_s3_bucket_public_access_block" "orchestrator" {
  bucket                  = aws_s3_bucket.orchestrator.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "orchestrator" {
  bucket = aws_s3_bucket.orchestrator.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "orchestrator" {
  bucket = aws_s3_bucket.orchestrator.id

  rule {
    id     = "results"
    status = "Enabled"

    filter {
      prefix = "${local.prefix}/results/"
    }

    expiration {
      days = var.results_days
    }
  }

  rule {
    id     = "half-uploaded"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_object" "binary" {
  bucket      = aws_s3_bucket.orchestrator.id
  key         = "${local.prefix}/boot/bench-${var.binary_sha256}"
  source      = var.binary_path
  source_hash = var.binary_sha256
}

# The secrets reach the instance as objects that its role may read; user-data names them and holds none.
resource "aws_s3_object" "secret" {
  for_each = toset(["admin.key", "tls.crt", "tls.key"])

  bucket  = aws_s3_bucket.orchestrator.id
  key     = "${local.prefix}/boot/${each.key}"
  content = { "admin.key" = var.admin_key, "tls.crt" = var.tls_certificate, "tls.key" = var.tls_key }[each.key]

  depends_on = [aws_s3_bucket_public_access_block.orchestrator]
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "orchestrator" {
  name               = substr("${local.name}-${var.region}", 0, 64)
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "orchestrator" {
  statement {
    sid       = "ReadPrefix"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.orchestrator.arn}/${local.prefix}/*"]
  }

  statement {
    sid       = "WriteResults"
    actions   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = [for part in ["results", "log"] : "${aws_s3_bucket.orchestrator.arn}/${local.prefix}/${part}/*"]
  }

  statement {
    sid       = "ListPrefix"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.orchestrator.arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${local.prefix}/*"]
    }
  }
}

resource "aws_iam_role_policy" "orchestrator" {
  name   = "bucket-prefix"
  role   = aws_iam_role.orchestrator.id
  policy = data.aws_iam_policy_document.orchestrator.json
}

resource "aws_iam_instance_profile" "orchestrator" {
  name = aws_iam_role.orchestrator.name
  role = aws_iam_role.orchestrator.name
}
