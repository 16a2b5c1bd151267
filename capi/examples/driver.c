/*
 * A running participant that trains one number, stops after as many rounds as it is told, and goes on with its state file when
 * it is started again.
 *
 *     cc -std=c11 driver.c -lpet -o driver
 *     ./driver http://127.0.0.1:8081 site.state 3
 */
#include <pet.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, pet_error_text());
    return 1;
}

/* Goes half of the way from the global model to 0.5. */
static int train(pet_driver *driver, const pet_view *view) {
    pet_model *global;
    pet_status status = pet_driver_fetch_model(driver, 10000, &global);
    if (status == PET_ERROR_TIMEOUT || status == PET_ERROR_COORDINATOR) {
        /* Later, and not at once. More than this never happens: so it waits for all of the five seconds. */
        pet_view unused;
        fprintf(stderr, "%s\n", pet_error_text());
        return pet_driver_wait(driver, UINT64_MAX, 5000, &unused) == PET_OK ? 0 : failed("pet_driver_wait");
    }
    if (status != PET_OK) return failed("pet_driver_fetch_model");
    pet_weights before = {0};
    if (global != NULL && pet_model_weights(global, &before) != PET_OK) return failed("pet_model_weights");
    float *weights = calloc((size_t)view->length, sizeof *weights);
    if (weights == NULL) return 1;
    for (size_t i = 0; i < view->length; i++) {
        /* A round with longer models may have begun meanwhile. */
        bool known = i < before.length && before.data_type == PET_DATA_TYPE_F32;
        float from = known ? ((const float *)before.data)[i] : 0;
        weights[i] = (from + 0.5f) / 2;
    }
    pet_model_free(global);
    pet_weights trained = {.data = weights, .length = (size_t)view->length, .data_type = PET_DATA_TYPE_F32};
    status = pet_driver_set_model_for(driver, view->rounds, &trained);
    free(weights);
    return status == PET_OK || status == PET_ERROR_LATE ? 0 : failed("pet_driver_set_model_for");
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s URL STATE-FILE ROUNDS\n", argv[0]);
        return 2;
    }
    if (!pet_is_compatible(PET_HEADER_VERSION)) return 1;
    pet_config *config;
    pet_driver *driver;
    if (pet_config_new(argv[1], NULL, &config) != PET_OK) return failed("pet_config_new");
    if (pet_config_set_state_file(config, argv[2]) != PET_OK) return failed("pet_config_set_state_file");
    if (pet_driver_start(config, &driver) != PET_OK) return failed("pet_driver_start");
    pet_config_free(config);
    uint8_t key[32];
    if (pet_driver_public_key(driver, key) != PET_OK) return failed("pet_driver_public_key");
    printf("participant ");
    for (size_t i = 0; i < sizeof key; i++) printf("%02x", key[i]);
    printf("\n");
    fflush(stdout);

    uint64_t rounds = strtoull(argv[3], NULL, 10);
    pet_view view = {0};
    do {
        if (pet_driver_wait(driver, view.happened, 1000, &view) != PET_OK) return failed("pet_driver_wait");
        pet_notice notice;
        bool taken;
        while (pet_driver_next_notice(driver, &notice, &taken) == PET_OK && taken)
            if (notice.level >= PET_NOTICE_INFO) fprintf(stderr, "%s\n", notice.text);
        if (view.model_needed && train(driver, &view) != 0) return 1;
    } while (view.rounds <= rounds);
    if (pet_driver_stop(driver, NULL) != PET_OK) return failed("pet_driver_stop");
    pet_driver_free(driver);
    return 0;
}
