# docker build -t hallpass .
# docker run --init --read-only -p 127.0.0.1:8420:8420 -v hallpass:/var/lib/hallpass hallpass

FROM node:24.21.0-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The npm package `node`, which brings Node 24 to developers, is a development dependency: here it is the image's own.
RUN npm ci --omit=dev

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production \
    HALLPASS_CONFIG=/etc/hallpass/hallpass.yaml
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY . .
# Stands until an operator mounts another over it.
COPY <<YAML /etc/hallpass/hallpass.yaml
listen: { host: 0.0.0.0, port: 8420 }
data_dir: /var/lib/hallpass
YAML
RUN install -d -o node -g node -m 700 /var/lib/hallpass
VOLUME /var/lib/hallpass
USER node
EXPOSE 8420
# In place of the base image's own, which is a shell script.
ENTRYPOINT ["node"]
CMD ["src/main.ts"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["node", "scripts/healthcheck.ts"]
