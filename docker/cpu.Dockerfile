# qa-onnx serve on the CPU. From the root of the checkout:
#   docker build -f docker/cpu.Dockerfile -t qa-onnx .
#   docker run --rm -p 127.0.0.1:8000:8000 --read-only --tmpfs /tmp qa-onnx
# Flags of `qa-onnx serve` go after the name of the image; mount your own bundle and name it with -b.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY LICENSES LICENSES
COPY qa_onnx qa_onnx
COPY exported/minilm-squad exported/minilm-squad
RUN python -m venv /opt/qa-onnx \
    && /opt/qa-onnx/bin/pip install --no-cache-dir ".[cpu,serve]" \
    && /opt/qa-onnx/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin qa-onnx
COPY --from=build /opt/qa-onnx /opt/qa-onnx
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
# The check needs no other tool than Python.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/opt/qa-onnx/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["/opt/qa-onnx/bin/qa-onnx", "serve", "--host", "0.0.0.0"]
