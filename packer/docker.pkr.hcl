source "docker" "spin" {
  image  = var.docker_base
  pull   = var.docker_pull
  commit = true
  # The image keeps the signal: as PID 1, wasmtime ends on this one only.
  run_command = [
    "-d", "-i", "-t", "--platform=linux/${var.architecture}", "--stop-signal=SIGINT", "--entrypoint=/bin/sh",
    "--", "{{ .Image }}",
  ]

  # As runtime/Dockerfile.
  changes = [
    "ENV APP_SHARE=/mnt/app APP_LISTEN=0.0.0.0:8000 HOME=/tmp SPIN_LOG_DIR= WASM_RUNTIME=${basename(var.runtime)}",
    "LABEL multicompute:content=${var.content_hash}",
    "USER 1000:1000",
    "EXPOSE 8000",
    "ENTRYPOINT [\"/usr/local/bin/serve\"]",
  ]
}
