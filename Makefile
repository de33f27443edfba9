# Thin front of scripts/setup, ansible-playbook and pytest: each target can be typed by hand as well.
.DEFAULT_GOAL := help
.PHONY: help setup site status destroy test test-broken test-kubernetes unit e2e lint sanity bench molecule
# Doubles Ansible's start when set.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# mypy looks at nothing in site-packages.
TYPED := .cache/types/ansible_collections/multicompute

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## environment, Docker engine and base image; finds all there on the second run
	@scripts/setup

site: setup ## everything running on this machine: prints the endpoint and who answers
	ansible-playbook site.yml

status: setup ## who answers now
	ansible-playbook playbooks/status.yml

destroy: setup ## everything that `make site` made is gone
	ansible-playbook playbooks/destroy.yml

# Two at a time (tests/conftest.py says which): what waits for one leaves the core to the other.
test: lint ## all tests
	pytest -n 2 tests

test-broken: setup ## every release that is no good, by every playbook, and twenty killed runs (an hour)
	KILLS=20 pytest -m 'whole_table or not whole_table' tests/e2e/test_broken.py

# Compiles Kubernetes, once (tests/kubernetes/node.py): too long for a new machine's `make test`.
test-kubernetes: setup ## role kubernetes on a real cluster of one node
	pytest -m cluster tests/kubernetes
	MOLECULE_GLOB='molecule/*/molecule.yml' molecule test --scenario-name kubernetes --no-command-borders

lint: setup ## style and known mistakes of Ansible, Python, YAML, shell and Dockerfiles
	ruff check . && ruff format --check .
	yamllint --strict .
	find molecule runtime tests -iname '*dockerfile' -print0 | xargs -0 hadolint
	grep -rlZE --exclude-dir=__pycache__ '^#!.*[ /](ba)?sh$$' .ci packer runtime scripts tests | xargs -0 shellcheck
	antsibull-changelog lint
	mkdir -p $(TYPED) && ln -sfn $(CURDIR) $(TYPED)/spin
	MYPYPATH=.cache/types mypy -p ansible_collections.multicompute.spin.plugins
	ansible-lint --offline --profile production

sanity: setup ## what ansible-test, antsibull-docs and galaxy-importer say of the collection
	scripts/sanity

# One scenario after the other: check, converge, idempotence, verify, then uninstall or bake anew, and verify again.
molecule: setup ## whole machines: three distributions, an EC2 instance that builds the app, images that Packer bakes
	MOLECULE_GLOB='molecule/*/molecule.yml' molecule test --all --exclude kubernetes --no-command-borders

unit: setup ## tests that need no Docker engine
	pytest tests/unit

e2e: setup ## the playbooks, against a local cloud of the tests' own
	pytest tests/e2e

bench: setup ## every benchmark, one after the other: docs/performance.md
	for script in tests/benchmarks/[a-z]*.py; do echo "== $$script" && python "$$script" || exit; done
	tests/benchmarks/first_site.sh
