/** The service that clients are judged by, as its own certificate names it. */
export const host = 'service.hallpass.test'

/** What a request for that certificate asks, besides: for as long as it may, since slow machines run for minutes. */
export const serving = { usages: ['serverAuth'], dns_names: [host], ttl: 900 }
