# What a Perl program sees of a clock that waits move.
use Time::HiRes qw(time sleep usleep alarm clock_gettime CLOCK_MONOTONIC);
$| = 1;
my ($wall, $begin) = (time, clock_gettime(CLOCK_MONOTONIC));
sub show { printf "%s %.6f %.6f\n", $_[0], time - $wall, clock_gettime(CLOCK_MONOTONIC) - $begin }
print scalar(gmtime($^T)), "\n";
sleep 0.05; show 'sleep';
select undef, undef, undef, 0.06; show 'select';
usleep 70000; show 'usleep';
$SIG{ALRM} = sub { print "alarm\n" };
alarm 0.05; sleep 0.2;
system 'sleep', '0.1'; show 'child';
print join(' ', times), "\n";
my $until = time + 3;
1 while time < $until;
print "spun\n";
