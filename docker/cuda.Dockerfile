# qa-onnx serve on an NVIDIA GPU. From the root of the checkout:
#   docker build -f docker/cuda.Dockerfile -t qa-onnx-cuda .
#   docker run --rm --gpus all -p 127.0.0.1:8000:8000 -v "$PWD/exported/my-checkpoint:/bundle:ro" qa-onnx-cuda
# The driver comes from the host (NVIDIA Container Toolkit), CUDA and cuDNN from the wheels. The bundle needs fp16 or
# fp32; the one that comes with qa-onnx holds int8 alone.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY LICENSES LICENSES
COPY qa_onnx qa_onnx
COPY exported/minilm-squad exported/minilm-squad
RUN python -m venv /opt/qa-onnx \
    && /opt/qa-onnx/bin/pip install --no-cache-dir ".[gpu,serve]" \
    && /opt/qa-onnx/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin qa-onnx
COPY --from=build /opt/qa-onnx /opt/qa-onnx
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["/opt/qa-onnx/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["/opt/qa-onnx/bin/qa-onnx", "serve", "--host", "0.0.0.0"]
CMD ["-b", "/bundle", "--device", "cuda", "--max-batch-tokens", "16384", "--max-queue", "1024"]
