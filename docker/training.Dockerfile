# Trainer image (pretrain, finetune). No Beam in it. The base carries torch with CUDA; on a CPU it works as well.
#   docker build -f docker/training.Dockerfile -t gristmill-training .
#   docker run --rm --gpus all -v "$PWD:/work" -w /work gristmill-training pretrain recipes/demo.toml
FROM pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime

WORKDIR /opt/gristmill
COPY pyproject.toml README.md LICENSE ./
COPY gristmill gristmill
COPY tokenization tokenization
COPY training training
COPY pipelines/__init__.py pipelines/__init__.py
# No constraints file here: it pins the CPU build of torch, and the base image brings its own.
RUN pip install --no-cache-dir '.[training]' \
    && useradd --create-home trainer

USER trainer
WORKDIR /work
ENTRYPOINT ["gristmill"]
CMD ["--help"]
