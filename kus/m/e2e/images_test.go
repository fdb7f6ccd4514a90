//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// images are those that the pods run.
type images struct {
	// runner has step-runner, tools the Python tools, demo the server of repositories.
	runner, tools, demo string
}

// findImages takes the images that are given and builds the others.
func findImages(ctx context.Context) (images, error) {
	var im images
	for _, i := range []struct {
		name             *string
		variable, target string
	}{
		{&im.runner, "E2E_RUNNER_IMAGE", "runner"},
		{&im.tools, "E2E_TOOLS_IMAGE", "full"},
		{&im.demo, "E2E_DEMO_IMAGE", "demo"},
	} {
		*i.name = os.Getenv(i.variable)
		if *i.name != "" {
			continue
		}
		var err error
		if *i.name, err = buildImage(ctx, i.target); err != nil {
			return im, err
		}
	}
	return im, nil
}

// buildImage builds a target of the Dockerfile, named for its content so that no node
// takes an older one for it, and brings it to the nodes.
func buildImage(ctx context.Context, target string) (string, error) {
	load := strings.Fields(os.Getenv("E2E_LOAD"))
	if len(load) == 0 {
		return "", errors.New("E2E_LOAD is not set: it is the command that brings an image to the nodes, such as \"kind load docker-image\"")
	}
	fmt.Println("e2e: building the image", target)
	argv := append([]string{"docker", "build", "--quiet", "--target", target}, strings.Fields(os.Getenv("E2E_BUILD_ARGS"))...)
	out, err := tool(ctx, nil, append(argv, "../..")...)
	if err != nil {
		return "", err
	}
	id := strings.TrimPrefix(strings.TrimSpace(string(out)), "sha256:")
	if len(id) < 12 {
		return "", fmt.Errorf("docker build printed %q, not the id of an image", id)
	}
	name := "docker.io/step-runner-e2e/" + target + ":" + id[:12]
	if _, err := tool(ctx, nil, "docker", "tag", id, name); err != nil {
		return "", err
	}
	_, err = tool(ctx, nil, append(load, name)...)
	return name, err
}
