# Needs BuildKit, which `docker build` uses by default since Docker 23.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The cache mounts keep compiled dependencies between builds, outside of any layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/usr/local/cargo/bin-of-build \
    --mount=type=cache,target=/build/target \
    PATH=/usr/local/cargo/bin-of-build/bin:$PATH CARGO_INSTALL_ROOT=/usr/local/cargo/bin-of-build \
    deploy/release/build /out/usr/local/bin \
    && install -D /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
    && install -d -m 1777 /out/tmp \
    && install -d -m 0700 /data

FROM scratch
COPY --from=build /out /
# A numeric id, so that Kubernetes can verify that it is not root.
COPY --from=build --chown=10001:10001 /data /data
USER 10001:10001
WORKDIR /data
VOLUME /data
# Set GRANTD_ISSUER to the public URL: it has no default in a container.
ENV DATABASE_URL=sqlite:///data/grantd.db \
    GRANTD_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s CMD ["grantd", "health"]
ENTRYPOINT ["grantd"]
