// case: leak
// function: compute_histogram
// mode: exact
// seconds: 30
// what: an array from new[] is never deleted
#include "service.h"

static double sum;

__attribute__((noinline)) double *compute_histogram() {
    double *histogram = new double[64]();
    for (int i = 0; i < 200; i++) histogram[random_below(64)] += 1;
    return histogram;
}

int main() {
    while (next_turn(40)) sum += compute_histogram()[0];
    return 0;
}
