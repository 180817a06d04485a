# Redis.pm.
use strict;
use warnings;
BEGIN { eval { require Redis; 1 } or exit 77 }

my ($path, $grant) = @ARGV;
my $client = Redis->new(sock => $path);

sub ensure {
    my ($condition, $what) = @_;
    die "not so: $what\n" unless $condition;
}

ensure($client->ping eq 'PONG', 'PING');
for my $call (0 .. 9) {
    my @reply = $client->check($grant, 'run');
    ensure($reply[0] == 1 && $reply[2] == 9 - $call && $reply[5] eq 'allow', "@reply");
}
my @denied = $client->check($grant, 'run');
ensure($denied[0] == 0 && $denied[8] =~ /^run is limited to 10 calls/, "@denied");
ensure(($client->peek($grant, 'run'))[0] == 0, 'PEEK');
eval { $client->check($grant) };
ensure($@ =~ /wrong number of arguments/, "an error: $@");
my @left;
$client->check($grant, 'big', sub { my ($reply, $error) = @_; push @left, $reply->[2]; }) for 1 .. 1000;
$client->wait_all_responses;
ensure(@left == 1000, 'a pipeline');
ensure($left[$_] == $left[0] - $_, 'the order of a pipeline') for 1 .. 999;
ensure($client->echo('still here') eq 'still here', 'ECHO');
ensure($client->info->{sluice_version}, 'INFO');
print "ok Redis.pm $Redis::VERSION\n";
