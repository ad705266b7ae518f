// case: leak
// function: ImageJob::load_pixels
// mode: exact
// seconds: 30
// flags: -Wno-delete-non-virtual-dtor
// what: jobs are deleted through a base class without a virtual destructor
#include "service.h"
#include <vector>

struct Job {
    virtual void run() = 0;
};

struct ImageJob : Job {
    std::vector<char> pixels;
    void load_pixels();
    void run() override { load_pixels(); }
};

__attribute__((noinline)) void ImageJob::load_pixels() { pixels.assign(1200, 'p'); }

__attribute__((noinline)) Job *make_job() { return new ImageJob; }

int main() {
    while (next_turn(40)) {
        Job *job = make_job();
        job->run();
        delete job;
    }
    return 0;
}
