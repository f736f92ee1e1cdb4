#!/usr/bin/env bash
# Links the code of src/ifc_hf/model beside the weights of the shipped checkpoint, so that the folder works without the
# package, as every saved model does. To be run after a file of that folder came or went. In a wheel the links are files.
set -euo pipefail
cd "$(dirname "$0")/../src/ifc_hf/checkpoints/demo"
rm -f ./*.py
for file in ../../model/[a-z]*.py; do
  ln -s "$file" .
done
