# What a Ruby program sees of a clock that waits move.
require 'timeout'
$stdout.sync = true
$wall, $begin = Time.now, Process.clock_gettime(Process::CLOCK_MONOTONIC)
def show(what) = puts("#{what} #{(Time.now - $wall).round(6)} #{(Process.clock_gettime(Process::CLOCK_MONOTONIC) - $begin).round(6)}")
puts $wall.utc
sleep 0.05; show 'sleep'
begin; Timeout.timeout(0.2) { sleep 5 }; rescue Timeout::Error; puts 'timeout'; end
ready = Queue.new
Thread.new { sleep 0.15; ready << 1 }
ready.pop
before = Time.now
`sleep 0.1`
puts (Time.now - before).round(6)
spin = Time.now
nil while Time.now - spin < 2
puts 'spun'
