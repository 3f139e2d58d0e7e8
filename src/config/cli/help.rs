//! The text that `--help` prints.

/// Every flag and word, one line each. Ends without newline.
pub const HELP: &str = "\
dialtone: a subject bus that speaks the NATS protocol, without JetStream

Usage: dialtone [flags]                 run a server
       dialtone pub SUBJECT [BODY]      publish one message
       dialtone sub SUBJECT             print what arrives
       dialtone req SUBJECT [BODY]      ask, print the answer
       dialtone reply SUBJECT [BODY]    answer each request
       dialtone help | version

Server:
  -a, --addr, --net HOST                address for clients (default 0.0.0.0)
  -p, --port N                          port for clients (default 4222, -1 any free one)
  -n, --name, --server_name NAME        server name (default: the server's id)
  -m, --http_port N                     port for monitoring (default off, -1 any free one)
      --client_advertise HOST[:PORT]    address that clients are told
  -c, --config FILE                     configuration file; flags win over it
  -t                                    check the configuration file and exit
  -P, --pid FILE                        file to write the process id to
      --ports_file_dir DIR              folder for the list of addresses the server got
  -sl, --signal CMD=PID                 tell a running server: stop, quit, term, reopen; PID
                                        is its process id or its pid file

Cluster:
      --cluster, --cluster_listen URL   nats://[USER:PASSWORD@]HOST:PORT for other servers
                                        (-1 any free port; empty: no cluster)
      --cluster_name NAME               name that all its servers share (default: generated)
      --routes URL,...                  other servers to connect to, nats://HOST:PORT
      --cluster_advertise HOST[:PORT]   address that other servers are told
      --no_advertise                    keep client addresses from the other servers
      --connect_retries N               further attempts to reach a server heard of (default 0)

Login:
      --user NAME, --pass PASSWORD      the one user that may connect
      --auth TOKEN                      the token that clients must know

Log:
  -l, --log FILE                        file to log to (default: standard error)
      --log_size_limit BYTES            size at which the file is rotated (default: never)
  -T, --logtime[=false]                 time in front of each line (default true)
      --logtime_utc                     that time in UTC
  -D, --debug                           log connections
  -V, --trace                           log protocol lines
  -VV                                   the same, system account included
  -DV, -DVV                             --debug with -V, with -VV
      --max_traced_msg_len BYTES        longest message shown by --trace (default: all)

pub, sub, req, reply (the body of pub and req, if not given, is read from a pipe or file):
  -s, --server URL                      nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]
                                        (default: $NATS_URL, else nats://127.0.0.1:4222)
  -H, --header NAME:VALUE               header of the message, may be given again
      --queue NAME                      sub, reply: share the messages with this group
      --count N                         sub, reply: end after N messages
      --timeout DURATION                req: how long to wait for the answer (default 2s)

  -h, --help                            print this
  -v, --version                         print the version of nats-server that this one follows

Flags take one or two dashes, and their value as the next word or after `=`.";
