# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The cache mounts keep compiled dependencies between builds, outside of any layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin grantd \
    && install -D target/release/grantd /out/grantd \
    && install -d -m 0700 /out/data

FROM debian:12-slim
COPY --from=build /out/grantd /usr/local/bin/grantd
# A numeric id, so that Kubernetes can verify that it is not root.
COPY --from=build --chown=10001:10001 /out/data /data
USER 10001:10001
VOLUME /data
# Set GRANTD_ISSUER to the public URL: it has no default in a container.
ENV DATABASE_URL=sqlite:///data/grantd.db \
    GRANTD_LISTEN=0.0.0.0:8080
EXPOSE 8080
# The image has no HTTP client; bash opens the connection.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --start-interval=1s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["grantd"]
