def test_a(bundle_fp32, bundle_fp16):
    from hidenerf.runtime.bundle import open_bundle
    open_bundle(bundle_fp32); open_bundle(bundle_fp16)
