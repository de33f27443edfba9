architecture  = "amd64"
instance_type = "t3.small"
