# The model server on transformers, CPU or the GPU build of torch that PIP_EXTRA_INDEX_URL names.
#   docker build -f manifests/images/inference.Dockerfile -t ghcr.io/kaito-project/kaito-py-inference:0.1.0 .
FROM python:3.11.14-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cu128
WORKDIR /src
COPY pyproject.toml constraints-dev.txt README.md LICENSE ./
COPY kaito ./kaito
RUN python -m venv /opt/kaito \
 && /opt/kaito/bin/pip install --no-cache-dir -c constraints-dev.txt '.[inference]'

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/kaito /opt/kaito
ENV PATH=/opt/kaito/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["python", "-m", "kaito.inference"]
