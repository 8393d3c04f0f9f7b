# The app with its weights: no root, nothing written but /tmp, and no network at run time. Run it by deploy/compose.yaml or
# deploy/kubernetes.yaml, which take the rest away.
FROM python:3.12-slim-bookworm AS install
WORKDIR /install
COPY requirements.lock deploy/without_cuda.py ./
# torch from its own index: there, its build for CPUs has 200 MB, where PyPI's for Linux brings 3 GB for GPUs along.
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
 && python without_cuda.py requirements.lock > cpu.lock \
 && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r cpu.lock

FROM python:3.12-slim-bookworm
COPY --from=install /venv /venv
WORKDIR /app
COPY app.py LICENSE NOTICE ./
COPY .streamlit .streamlit
COPY pages pages
COPY odconv odconv
COPY assets assets
RUN /venv/bin/python -m compileall -q /app/odconv /app/pages /app/app.py
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_HEADLESS=true \
    STREAMLIT_SERVER_FILE_WATCHER_TYPE=none \
    STREAMLIT_SERVER_SCRIPT_HEALTH_CHECK_ENABLED=true
USER 10001:10001
EXPOSE 8501
# The cheap check; that the first page runs is asked once, by whoever starts the container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["/venv/bin/python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8501/_stcore/health', timeout=4)"]
ENTRYPOINT ["/venv/bin/streamlit", "run", "app.py"]
