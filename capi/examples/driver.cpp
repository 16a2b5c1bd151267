// The same as driver.c, in C++: what is to be freed is a unique_ptr, and what is not PET_OK an exception.
#include <pet.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

template <auto Free>
struct Freed {
    template <typename T>
    void operator()(T *pointer) const { Free(pointer); }
};
using Config = std::unique_ptr<pet_config, Freed<pet_config_free>>;
using Driver = std::unique_ptr<pet_driver, Freed<pet_driver_free>>;
using Model = std::unique_ptr<pet_model, Freed<pet_model_free>>;

void check(pet_status status) {
    if (status != PET_OK) throw std::runtime_error(pet_error_text());
}

// What a call gives through a pointer to a pointer.
template <typename Owner, typename Call>
Owner made(Call call) {
    typename Owner::pointer pointer = nullptr;
    check(call(&pointer));
    return Owner(pointer);
}

// Goes half of the way from the global model to 0.5.
void train(const pet_driver *driver, const pet_view &view) {
    pet_model *fetched = nullptr;
    pet_status status = pet_driver_fetch_model(driver, 10000, &fetched);
    if (status == PET_ERROR_TIMEOUT || status == PET_ERROR_COORDINATOR) {
        // Later, and not at once. More than this never happens: so it waits for all of the five seconds.
        pet_view unused{};
        check(pet_driver_wait(driver, UINT64_MAX, 5000, &unused));
        return;
    }
    check(status);
    Model global(fetched);
    pet_weights before{};
    if (global) check(pet_model_weights(global.get(), &before));
    std::vector<float> weights(static_cast<std::size_t>(view.length));
    for (std::size_t i = 0; i < weights.size(); i++) {
        // A round with longer models may have begun meanwhile.
        const bool known = i < before.length && before.data_type == PET_DATA_TYPE_F32;
        weights[i] = ((known ? static_cast<const float *>(before.data)[i] : 0.0f) + 0.5f) / 2.0f;
    }
    pet_weights trained{};
    trained.data = weights.data();
    trained.length = weights.size();
    trained.data_type = PET_DATA_TYPE_F32;
    status = pet_driver_set_model_for(driver, view.rounds, &trained);
    if (status != PET_ERROR_LATE) check(status);
}

void run(const char *url, const char *state_file, std::uint64_t rounds) {
    auto config = made<Config>([&](pet_config **to) { return pet_config_new(url, nullptr, to); });
    check(pet_config_set_state_file(config.get(), state_file));
    auto driver = made<Driver>([&](pet_driver **to) { return pet_driver_start(config.get(), to); });
    std::uint8_t key[32];
    check(pet_driver_public_key(driver.get(), key));
    std::printf("participant ");
    for (std::uint8_t byte : key) std::printf("%02x", byte);
    std::printf("\n");
    std::fflush(stdout);
    pet_view view{};
    do {
        check(pet_driver_wait(driver.get(), view.happened, 1000, &view));
        if (view.model_needed) train(driver.get(), view);
    } while (view.rounds <= rounds);
    check(pet_driver_stop(driver.get(), nullptr));
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 4 || !pet_is_compatible(PET_HEADER_VERSION)) return 2;
    try {
        run(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
