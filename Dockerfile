# facesearch as a server. One file for both: `--build-arg RUNTIME=cuda` installs onnxruntime for NVIDIA GPUs.
#
#   docker build -t facesearch .
#   docker compose run --rm keys && docker compose up

FROM python:3.11-slim-bookworm AS build
ARG RUNTIME=cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY facesearch facesearch
COPY migrations migrations
RUN python -m venv /opt/facesearch \
    && /opt/facesearch/bin/pip install --no-cache-dir '.[server,heic]' \
    && if [ "$RUNTIME" = cuda ]; then \
        /opt/facesearch/bin/pip uninstall --yes onnxruntime \
        && /opt/facesearch/bin/pip install --no-cache-dir 'onnxruntime-gpu[cuda,cudnn]'; \
    fi \
    # NVIDIA's libraries come as Python packages, which the dynamic linker does not look into.
    && mkdir /opt/facesearch/cuda \
    && find /opt/facesearch/lib -path '*/nvidia/*' -name '*.so*' -exec ln -s -t /opt/facesearch/cuda {} +

FROM python:3.11-slim-bookworm
# Nobody in particular: no shell, no home to write to but the two volumes.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin facesearch \
    && install --directory --owner=facesearch --mode=0700 /gallery /models
COPY --from=build /opt/facesearch /opt/facesearch
ENV PATH=/opt/facesearch/bin:$PATH \
    LD_LIBRARY_PATH=/opt/facesearch/cuda \
    PYTHONDONTWRITEBYTECODE=1 \
    FACESEARCH_CACHE=/tmp/facesearch \
    FACESEARCH_GALLERY=/gallery \
    FACESEARCH_MODELS=/models
USER 10001
VOLUME ["/gallery", "/models"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v1/health/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["facesearch"]
# Reachable from outside the container, so it does not start before the gallery has a key.
CMD ["serve", "--host", "0.0.0.0"]
