# What a shell sees of a clock that waits move.
date +%s.%N
timeout 1 sleep 5; echo $?
date +%T
end=$(($(date +%s) + 1)); while [ $(date +%s) -lt $end ]; do sleep 0.5; echo tick; done; date +%T
time sleep 0.1
times
echo $EPOCHREALTIME; read -t 0.2 <> <(:); sleep 0.2; echo $EPOCHREALTIME $SECONDS
end=$((EPOCHSECONDS + 1)); while (( EPOCHSECONDS < end )); do sleep 0.5; done; echo $EPOCHREALTIME
