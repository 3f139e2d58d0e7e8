# The completion of dialtone for bash.
_dialtone() {
  local word=${COMP_WORDS[COMP_CWORD]} words
  case ${COMP_WORDS[COMP_CWORD - 1]} in
    -c | --config | -P | --pid | --tlscert | --tlskey | --tlscacert | -l | --log | --tlsca | --tlscert | --tlskey | --creds | --nkey) COMPREPLY=($(compgen -f -- "$word")) && return ;;
    --ports_file_dir) COMPREPLY=($(compgen -d -- "$word")) && return ;;
    -a | --addr | --net | -p | --port | -n | --name | --server_name | -m | --http_port | -ms | --https_port | --client_advertise | -sl | --signal | --cluster | --cluster_listen | --cluster_name | --routes | --cluster_advertise | --connect_retries | --user | --pass | --auth | --log_size_limit | -r | --remote_syslog | --max_traced_msg_len | -s | --server | -H | --header | --queue | --count | --timeout) return ;;
  esac
  case ${COMP_WORDS[1]} in
    pub) words="-s --server --tlsca --tlscert --tlskey --tlsfirst --creds --nkey -H --header" ;;
    sub) words="-s --server --tlsca --tlscert --tlskey --tlsfirst --creds --nkey --queue --count" ;;
    req) words="-s --server --tlsca --tlscert --tlskey --tlsfirst --creds --nkey -H --header --timeout" ;;
    reply) words="-s --server --tlsca --tlscert --tlskey --tlsfirst --creds --nkey -H --header --queue --count" ;;
    *)
      words="-a --addr --net -p --port -n --name --server_name -m --http_port -ms --https_port --client_advertise -c --config -t -P --pid --ports_file_dir -sl --signal --cluster --cluster_listen --cluster_name --routes --cluster_advertise --no_advertise --connect_retries --user --pass --auth --tls --tlscert --tlskey --tlscacert --tlsverify --help_tls -l --log --log_size_limit -s --syslog -r --remote_syslog -T --logtime --logtime_utc -D --debug -V --trace -VV -DV -DVV --max_traced_msg_len -h --help -v --version"
      ((COMP_CWORD > 1)) || words+=" pub sub req reply help version"
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _dialtone dialtone
