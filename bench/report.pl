# What bench/run writes: a summary of its results, as JSON, Markdown, a table for the terminal, and plots.
use strict;
use warnings;

sub median {
  my @v = sort { $a <=> $b } @_;
  return @v ? ($v[ $#v / 2 ] + $v[ @v / 2 ]) / 2 : undef;
}

# By scenario and peer: all values, their median and range, the ratio to the floor; the curve of the run in the middle.
sub summary {
  my ($about, $peers, $scenarios, $results, $skipped, $value_of) = @_;
  my ($floor) = map { $_->{name} } grep { $_->{floor} } @$peers;
  my @rows;
  for my $s (@$scenarios) {
    my $of = $results->{ $s->{name} } or next;
    my %row = (name => $s->{name}, text => $s->{text}, value => $s->{value}, tool => $s->{tool}, args => $s->{args}, peers => {});
    for my $name (keys %$of) {
      my @good = grep { !$_->{failed} && defined $value_of->($_, $s->{value}) } @{ $of->{$name} };
      my @values = map { $value_of->($_, $s->{value}) + 0 } @good;
      my %cell = (values => \@values, failed => @{ $of->{$name} } - @good);
      if (@values) {
        my @order = sort { $values[$a] <=> $values[$b] } 0 .. $#values;
        my $middle = $good[ $order[ @order / 2 ] ];
        @cell{qw(median min max)} = (median(@values), $values[ $order[0] ], $values[ $order[-1] ]);
        for my $more (qw(delay_us first_token_us between_events_us process streams reloads p50_us p99_us base_rss_kb busy)) {
          $cell{$more} = $middle->{$more} if defined $middle->{$more};
        }
      }
      $row{peers}{$name} = \%cell;
    }
    my $base = $floor && $row{peers}{$floor} && $row{peers}{$floor}{median};
    if ($s->{ratio} && $base) {
      $_->{ratio} = $_->{median} / $base for grep { defined $_->{median} } values %{ $row{peers} };
    }
    push @rows, \%row;
  }
  my @names = grep { my $n = $_; grep { $_->{peers}{$n} } @rows } map { $_->{name} } @$peers;
  return { about => $about, floor => $floor, peers => \@names, left_out => { %$skipped }, scenarios => \@rows };
}

# JSON in which a pair of numbers stays on its line: curves have hundreds.
sub json_text {
  my ($r) = @_;
  return JSON::PP->new->canonical->pretty->encode($r) =~ s/\[\s+(\S+),\s+([^\s\[\]]+)\s+\]/[$1, $2]/gr;
}

sub number {
  my ($v) = @_;
  return !defined $v ? '-' : $v == int($v) && $v < 1e6 ? $v : $v < 10 ? sprintf('%.2f', $v) : $v < 1000 ? sprintf('%.1f', $v) : sprintf('%.0f', $v);
}

# "4.05 x1.02 ±3%": the median, times the floor, half the range.
sub cell {
  my ($c, $is_floor) = @_;
  return '' unless $c && $c->{values};
  return 'failed' unless defined $c->{median};
  my $text = number($c->{median});
  $text .= sprintf ' x%.2f', $c->{ratio} if $c->{ratio} && !$is_floor;
  $text .= sprintf ' ±%.0f%%', 50 * ($c->{max} - $c->{min}) / $c->{median} if @{ $c->{values} } > 1 && $c->{median} > 0;
  return $text;
}

# Rows that come from results of other rows.
sub derived {
  my ($r) = @_;
  my %of = map { $_->{name} => $_ } @{ $r->{scenarios} };
  my @rows;
  my $row = sub {
    my ($text, $scenario, $fn) = @_;
    my $s = $of{$scenario} or return;
    push @rows, [ $text, map { $s->{peers}{$_} ? $fn->($s->{peers}{$_}) // '' : '' } @{ $r->{peers} } ];
  };
  $row->('base RSS, MB', 'held1000', sub { defined $_[0]{base_rss_kb} ? sprintf '%.1f', $_[0]{base_rss_kb} / 1024 : '' });
  $row->('paced: p99 upstream to client, us', 'paced', sub { defined $_[0]{p99_us} ? number($_[0]{p99_us}) : '' });
  $row->('100 streams x 50/s: p50 to client, us', 'latency', sub { number($_[0]{delay_us}{p50}) });
  $row->('100 streams x 50/s: p99.9 to client, us', 'latency', sub { number($_[0]{delay_us}{p99_9}) });
  # Of the heap: a stream has some, an event must have none.
  $row->('weir: allocations a stream of 103 events', 'latency', sub {
    my ($p, $s) = @{ $_[0] }{qw(process streams)};
    return defined $p->{allocations} && $s->{begun} ? sprintf '%.1f', $p->{allocations} / $s->{begun} : '';
  });
  $row->('reloads done in that time', 'reload', sub { $_[0]{reloads} ? $_[0]{reloads}{made} - $_[0]{reloads}{failed} : '' });
  return @rows;
}

sub rows_of {
  my ($r) = @_;
  my @rows = map { my $s = $_; [ $s->{text}, map { cell($s->{peers}{$_}, $_ eq ($r->{floor} // '')) } @{ $r->{peers} } ] }
    @{ $r->{scenarios} };
  return (@rows, derived($r));
}

sub headline {
  my ($a) = @_;
  return "$a->{date}, $a->{weir}, $a->{cpu}, $a->{kernel}, $a->{rounds} rounds of $a->{seconds} s, load average $a->{load}";
}

sub text_table {
  my ($r) = @_;
  my $text = headline($r->{about}) . "\nmedians; x: times the floor (thin); ±: half the range\n";
  $text .= join('', sprintf('%-42s', ''), map { sprintf '%17s', $_ } @{ $r->{peers} }) . "\n";
  for my $row (rows_of($r)) {
    my ($name, @cells) = @$row;
    # A plus-minus sign is two bytes and one column.
    $text .= sprintf('%-42s', $name) . join('', map { sprintf '%' . (17 + (/±/ ? 1 : 0)) . 's', $_ } @cells) . "\n";
  }
  return $text;
}

sub markdown {
  my ($r, @plots) = @_;
  my $a = $r->{about};
  my $text = "# Benchmark of $a->{date}\n\n$a->{weir}; $a->{cpu}, $a->{cpus} CPUs, $a->{kernel}; $a->{rounds} rounds of $a->{seconds} s, "
    . "$a->{took_s} s in all, load average $a->{load} at the end (2 is the benchmark alone). Medians; × is times the thinnest relay (thin), ± half the range over the rounds. What each row means:\n"
    . "[benchmark.md](../../../docs/benchmark.md). All values: [results.json](results.json).\n\n";
  $text .= join(' | ', '|', @{ $r->{peers} }) . " |\n" . '|---' . '|---' x @{ $r->{peers} } . "|\n";
  for my $row (rows_of($r)) { $text .= join(' | ', '| ' . $row->[0], @$row[1 .. $#$row]) =~ s/ x(\d)/ ×$1/gr . " |\n"; }
  $text .= "\nLeft out: " . join('; ', map { "$_ ($r->{left_out}{$_})" } sort keys %{ $r->{left_out} }) . ".\n" if %{ $r->{left_out} };
  $text .= "\n![$_->[1]]($_->[0])\n" for @plots;
  return $text;
}

# --- Plots, by gnuplot from files of data.

sub data_file {
  my ($path, @lines) = @_;
  open(my $fh, '>', $path) or die "$path: $!\n";
  print $fh "$_\n" for @lines;
  close $fh;
  return $path;
}

sub plot {
  my ($dir, $out, $name, $title, $script) = @_;
  my $file = data_file("$dir/$name.gp", "set terminal svg size 900,420 dynamic font 'sans-serif,12' background '#ffffff'",
                       "set output '$out/$name.svg'", "set title '$title'", 'set grid ytics lc rgb "#dddddd"', $script);
  return system("gnuplot $file >$dir/$name.log 2>&1") == 0 ? [ "$name.svg", $title ] : ();
}

sub plot_cpu {
  my ($r, $dir, $out) = @_;
  my @s = grep { my $row = $_; grep { $_->{ratio} } values %{ $row->{peers} } } @{ $r->{scenarios} };
  my @p = grep { my $p = $_; grep { $_->{peers}{$p}{ratio} } @s } @{ $r->{peers} };
  return () unless @s && @p > 1;
  my @lines = map { my $s = $_; join "\t", "\"$s->{name}\"", map { $s->{peers}{$_}{ratio} // '?' } @p } @s;
  my $file = data_file("$dir/cpu.dat", join("\t", '""', map { "\"$_\"" } @p), @lines);
  my $n = @p + 1;
  return plot($dir, $out, 'cpu', 'CPU time, times the thinnest relay', <<"EOT");
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.8 noborder
set yrange [0:*]
set key outside right
plot for [i=2:$n] '$file' using i:xtic(1) title columnheader(i)
EOT
}

sub plot_latency {
  my ($r, $dir, $out) = @_;
  my ($s) = grep { $_->{name} eq 'latency' } @{ $r->{scenarios} };
  my @p = grep { $s && $s->{peers}{$_} && $s->{peers}{$_}{delay_us} } @{ $r->{peers} };
  return () unless @p;
  my @curves;
  for my $p (@p) {
    my $curve = $s->{peers}{$p}{delay_us}{curve};
    my $file = data_file("$dir/latency-" . ($p =~ s/\W/-/gr) . '.dat',
                         map { join "\t", 1 / (1 - $_->[0]), $_->[1] } grep { $_->[0] < 1 && $_->[1] > 0 } @$curve);
    push @curves, "'$file' with lines lw 2 title '$p'";
  }
  return plot($dir, $out, 'latency', 'From the upstream to the client, 100 streams of 50 events a second', <<"EOT"
set logscale x
set logscale y
set ylabel 'microseconds'
set xtics ('p0' 1, 'p50' 2, 'p90' 10, 'p99' 100, 'p99.9' 1000, 'p99.99' 10000)
set key outside right
plot
EOT
    =~ s/plot\n$/'plot ' . join(', ', @curves)/er);
}

sub plot_memory {
  my ($r, $dir, $out) = @_;
  my @s = grep { $_->{name} =~ /^held\d+$/ } @{ $r->{scenarios} };
  return () unless @s > 1;
  my @curves;
  for my $p (@{ $r->{peers} }) {
    my @points = map { my ($n) = $_->{name} =~ /(\d+)/; my $v = $_->{peers}{$p}{median};
                       defined $v ? join("\t", $n, $v * $n / 1024) : () } @s;
    next unless @points;
    my $file = data_file("$dir/memory-" . ($p =~ s/\W/-/gr) . '.dat', @points);
    push @curves, "'$file' with linespoints lw 2 title '$p'";
  }
  return plot($dir, $out, 'memory', 'Memory by number of held streams', "set ylabel 'MB beside the base'\nset xlabel 'streams'\n"
    . "set yrange [0:*]\nset key outside right\nplot " . join(', ', @curves));
}

sub plots {
  my ($r, $dir, $out) = @_;
  return (plot_cpu($r, $dir, $out), plot_latency($r, $dir, $out), plot_memory($r, $dir, $out));
}

1;
