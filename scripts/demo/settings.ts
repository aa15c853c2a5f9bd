import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'

/** Names that the demo's parts know each other by. */
export const names = {
  /** What the CI's ID tokens are for. */
  ciAudience: 'https://hallpass.demo',
  staffAudience: 'hallpass-console',
  trustDomain: 'prod.example',
  /** Path of the agent's SPIFFE ID. */
  agentPath: '/agent',
  /** What the CI signs its deliveries with. */
  hookSecret: 'a secret that the CI and the broker share',
  /** The audience that tokens for the protected service need. */
  serviceAudience: 'https://deploy.example',
} as const

/** Writes what an operator writes: hallpass.yaml and a policy. @returns the path of hallpass.yaml */
export async function writeSettings(
  folder: string,
  { ciIssuer, staffIssuer }: { ciIssuer: string; staffIssuer: string },
): Promise<string> {
  const file = join(folder, 'hallpass.yaml')
  await mkdir(join(folder, 'policies'))
  await writeFile(join(folder, 'policies', 'demo.cedar'), policy)
  await writeFile(file, stringify(hallpassYaml(ciIssuer, staffIssuer)))
  return file
}

const hallpassYaml = (ciIssuer: string, staffIssuer: string) => ({
  listen: { port: 0, mtls: { port: 0 } },
  // The folder itself: embedded PostgreSQL and the generated master key live here, and go with it.
  data_dir: '.',
  trust: [
    {
      name: 'ci',
      kind: 'oidc',
      issuer: ciIssuer,
      audience: names.ciAudience,
      require: { repository_owner: 'acme' },
      task: {
        kind: 'ci-job',
        ref: '{repository}/runs/{run_id}/attempts/{run_attempt}/jobs/{check_run_id}',
        bind: ['repository', 'sha', 'environment'],
      },
    },
    {
      name: 'staff',
      kind: 'oidc',
      issuer: staffIssuer,
      audience: names.staffAudience,
      operators: { groups_claim: 'groups', max_age: '8h' },
    },
    { name: 'prod', kind: 'spiffe', trust_domain: names.trustDomain, bundle: { file: 'bundle.json' } },
  ],
  // The CI says when a job is over, in GitHub's words, even when its runner cannot.
  hooks: [{ name: 'ci', kind: 'github', secret: names.hookSecret }],
})

const policy = `
@id("ci-opens-its-jobs")
permit (principal is Workload, action == Action::"open", resource == TaskKind::"ci-job")
when { principal.source == "ci" };

@id("ci-deploys-to-staging")
@ttl("5m")
permit (principal is Workload, action == Action::"mint", resource == Scope::"deploy:staging")
when {
  principal.source == "ci" &&
  context.audience == "${names.serviceAudience}" &&
  context.task.hasTag("environment") && context.task.getTag("environment") == "staging"
};

@id("agents-run")
permit (principal is Workload, action == Action::"open", resource == TaskKind::"agent-run")
when { principal.source == "prod" };

@id("agents-deploy-to-staging")
permit (principal == Workload::"spiffe://${names.trustDomain}${names.agentPath}", action == Action::"mint", resource == Scope::"deploy:staging")
when { context.audience == "${names.serviceAudience}" };

@id("sre-handles-tasks")
permit (
  principal in Group::"staff/groups/sre",
  action in [Action::"read", Action::"change_context", Action::"close"],
  resource is Task
);

@id("sre-administers")
permit (principal in Group::"staff/groups/sre", action == Action::"administer", resource);
`
