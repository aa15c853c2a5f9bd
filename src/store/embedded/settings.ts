/**
 * Written into `postgresql.conf` when a cluster is made; the operator may change them there. Connections are for a
 * broker's pool, its replicas on the same machine, and people who look.
 */
export const initialSettings: Record<string, string> = {
  max_connections: '200',
  shared_buffers: '128MB',
  max_wal_size: '1GB',
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
}

/** Given at every start, over whatever the files say: what the broker's promises rest on. */
export function fixedSettings(socketDirectory: string): Record<string, string> {
  return {
    // No TCP port: the socket's directory is the access control.
    listen_addresses: '',
    unix_socket_directories: `"${socketDirectory.replaceAll('"', '""')}"`,
    unix_socket_permissions: '0700',
    port: '5432',
    // What was committed survives the machine.
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    // To standard error, which the broker keeps; without the statements that failed, and the values in them.
    log_destination: 'stderr',
    logging_collector: 'off',
    log_line_prefix: '%m [%p] ',
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
  }
}

export function asArguments(settings: Record<string, string>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}
