# How it is measured, as data. Each scenario:
#   name    for --scenario
#   text    what the table says
#   tool    load: bench/load.c, both ends in one process, which knows how many events are under way: for CPU time
#           bench: weir bench before the peer and weir mock behind it: for what a user sees
#   args    of the tool; those of bench also with {tokens}
#   value   which of its results is the figure; ratio: compared with the floor
#   once    is measured once, in processes that have done nothing yet (memory doesn't vary)
#   peers   only those whose data has this mark
#   quick   in bench-quick too
use strict;
use warnings;

# A stream of 100 tokens at 50 a second lasts two seconds: 100 streams at any time. Without jitter their events would come
# in bursts, as all of them began on one grid.
my @paced = qw(--rate 50 --streams 400 --tokens 100 --header x-mock-rate:50 --header x-mock-jitter:0.5);

return (
  { name => 'saturated', text => 'saturated, one event a write, us/event', tool => 'load', value => 'us_per_event',
    args => [qw(saturated --streams 32 --batch 1 --window 64)], ratio => 1, quick => 1 },
  { name => 'lockstep', text => 'the same, each event read alone, us/event', tool => 'load', value => 'us_per_event',
    args => [qw(saturated --streams 32 --batch 1 --window 1)], ratio => 1, quick => 1 },
  { name => 'paced', text => 'paced, 200 streams x 50/s, us/event', tool => 'load', value => 'us_per_event',
    args => [qw(paced --streams 200 --rate 50)], ratio => 1, quick => 1 },
  { name => 'batch16', text => '16 events a write, us/event', tool => 'load', value => 'us_per_event',
    args => [qw(saturated --streams 32 --batch 16 --window 64)], ratio => 1, quick => 1 },
  { name => 'short', text => 'a new connection a stream, us/stream', tool => 'load', value => 'us_per_stream',
    args => [qw(short --streams 16 --per-stream 4)], ratio => 1, quick => 1 },
  { name => 'held100', text => 'own memory, KB/stream, 100 held', tool => 'load', value => 'kb_per_stream',
    args => [qw(idle --streams 100 --seconds 0.3)], once => 1 },
  { name => 'held1000', text => 'own memory, KB/stream, 1000 held', tool => 'load', value => 'kb_per_stream',
    args => [qw(idle --streams 1000 --seconds 0.5)], once => 1, quick => 1 },
  { name => 'held3500', text => 'own memory, KB/stream, 3500 held', tool => 'load', value => 'kb_per_stream',
    args => [qw(idle --streams 3500 --seconds 0.5)], once => 1 },
  { name => 'slow', text => 'own memory, KB/slow reader', tool => 'load', value => 'kb_per_stream',
    args => [qw(slow --streams 100 --seconds 1)], once => 1, quick => 1 },
  { name => 'latency', text => '100 streams x 50/s: p99 to client, us', tool => 'bench', value => 'delay_us.p99',
    args => \@paced, quick => 1, direct => 1 },
  { name => 'tls', text => 'the same with TLS to client, us CPU/event', tool => 'bench',
    value => 'process.cpu_us_per_event', args => [ @paced, '--insecure' ], tls => 1, peers => 'tls', quick => 1 },
  { name => 'handshakes', text => 'a TLS handshake a stream, us CPU/stream', tool => 'bench',
    value => 'cpu_us_per_stream', args => [qw(--streams 8 --tokens 4 --fresh --insecure)], tls => 1, peers => 'tls' },
  { name => 'leavers', text => 'half of the clients leave, us CPU/event', tool => 'bench',
    value => 'process.cpu_us_per_event', args => [ @paced, '--leave', '0.5:100' ] },
  { name => 'reload', text => 'a reload each 0.2 s: streams lost', tool => 'bench', value => 'streams.failed',
    args => [qw(--streams 32 --tokens 50 --header x-mock-rate:500)], peers => 'reload', reload => 0.2, quick => 1 },
);
