# Builds from the repository:     docker build -t ifc_hf .
# The demo in the browser:        docker run --rm -p 7860:7860 ifc_hf
# Videos of this folder:          docker run --rm -v "$PWD":/data ifc_hf predict my_clip.mp4 -o outputs
# The HTTP example:               docker run --rm -p 8000:8000 --entrypoint python ifc_hf \
#                                     /srv/ifc_hf/scripts/serve_http.py --host 0.0.0.0
# Results that belong to you:     docker run --user "$(id -u):$(id -g)" ...
FROM python:3.11-slim

# Folders that any user may write to.
ENV HF_HOME=/var/tmp/huggingface MPLCONFIGDIR=/var/tmp/matplotlib
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1

WORKDIR /srv/ifc_hf
# First what changes seldom, so that a change of the code installs nothing again.
# For the CPU: PyTorch has an index of smaller wheels without CUDA, `--build-arg TORCH_INDEX=ADDRESS`.
ARG TORCH_INDEX=
RUN pip install torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
# For CUDA: leave TORCH_INDEX empty. The wheel brings CUDA's libraries; the host needs the driver and NVIDIA's container
# toolkit. Exchange the last line for the one below it and run with `--gpus all`.

COPY pyproject.toml setup.cfg constraints.txt README.md LICENSE NOTICE ./
COPY src src
COPY scripts scripts
RUN pip install -c constraints.txt ".[app,serve]"

WORKDIR /data
# The demo listens on all addresses of the container; `docker run -p` says who may reach it.
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_ANALYTICS_ENABLED=False
EXPOSE 7860 8000
ENTRYPOINT ["ifc-hf"]
CMD ["app"]
# CMD ["app", "--device", "cuda"]
