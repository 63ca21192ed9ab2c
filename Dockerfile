# The page for strangers, on the processor. For a GPU of NVIDIA's:
# `--build-arg INDEX=https://download.pytorch.org/whl/cu130`.
FROM python:3.12-slim-bookworm

ARG INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /app

# Before the sources, so that a change of those installs nothing anew. Exactly the versions that the tests passed with.
COPY requirements.txt ./
COPY .ci/constraints.txt .ci/
RUN pip install --no-cache-dir --extra-index-url "$INDEX" -c .ci/constraints.txt -r requirements.txt

RUN useradd --uid 1000 --create-home quantlab && install -d -o quantlab /data
COPY LICENSE app.py ./
COPY assets assets
COPY docs docs
COPY quantlab quantlab

# All that is kept lies below /data: models, quantized checkpoints, classes.
ENV HF_HOME=/data/huggingface \
    PORT=7860 \
    PYTHONUNBUFFERED=1 \
    QUANTLAB_HOST=0.0.0.0 \
    QUANTLAB_PUBLIC=1 \
    XDG_CACHE_HOME=/data/cache \
    XDG_DATA_HOME=/data/share
VOLUME /data
USER 1000
EXPOSE 7860
HEALTHCHECK --start-period=120s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/healthz\")"]
CMD ["python", "app.py"]
