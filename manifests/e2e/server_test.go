//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// dataFile is the data set of the demo, as its notebook calls it. Anybody may have it.
const dataFile = "dli_census.h5ad"

// dataURL is where the pods find it.
func (c *cluster) dataURL() string { return "https://" + c.gitIP + "/data/" + dataFile }

// copyData takes it out of scanpy's package, in the image of the tools.
const copyData = `import importlib.util, pathlib, shutil
found = pathlib.Path(importlib.util.find_spec("scanpy").origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
pathlib.Path("/repos/data").mkdir()
shutil.copyfile(found, "/repos/data/` + dataFile + `")`

// server is the name of the pod that serves the repositories, and sees the volume.
const server = "e2e-server"

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/name": name}}
}

// setUpAddress makes the Service, by whose address the repositories are known.
func (c *cluster) setUpAddress(ctx context.Context) error {
	service := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(server),
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app.kubernetes.io/name": server},
			Ports:    []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(8443)}},
		},
	}
	err := c.create(ctx, service)
	c.gitIP = service.Spec.ClusterIP
	return err
}

// setUpServer starts it, with a certificate for the Service's address.
func (c *cluster) setUpServer(ctx context.Context) error {
	cert, key, err := newCertificate(c.gitIP)
	if err != nil {
		return err
	}
	for _, obj := range []any{
		c.secret("github-token", map[string]string{"token": c.token}),
		c.secret("github-webhook", map[string]string{"secret": c.hook}),
		c.secret(server, map[string]string{"token": c.token, "tls.crt": cert, "tls.key": key}),
		&corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta("step-runner-ca"),
			Data: map[string]string{"ca.crt": cert},
		},
		c.serverPod(),
	} {
		if err := c.create(ctx, obj); err != nil {
			return err
		}
	}
	_, err = c.kubectl(ctx, nil, "wait", "--for=condition=Ready", "--timeout=5m", "pod/"+server)
	return err
}

func (c *cluster) secret(name string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta(name), StringData: data}
}

func (c *cluster) serverPod() *corev1.Pod {
	yes, no, id := true, false, int64(1001)
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: meta(server),
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			// What has PID 1 here does not end on a TERM.
			TerminationGracePeriodSeconds: new(int64),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsUser: &id, RunAsGroup: &id, FSGroup: &id,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			InitContainers: []corev1.Container{{
				Name: "data", Image: c.images.tools, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"python3", "-c", copyData},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				VolumeMounts: []corev1.VolumeMount{{Name: "repos", MountPath: "/repos"}},
			}},
			Containers: []corev1.Container{{
				Name: "server", Image: c.images.demo, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"demo", "serve", "--dir=/repos", "--token-file=/secret/token", "--cert=/secret/tls.crt", "--key=/secret/tls.key"},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes, RunAsUser: &id,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8443)},
				}},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "repos", MountPath: "/repos"}, {Name: "tmp", MountPath: "/tmp"},
					{Name: "secret", MountPath: "/secret", ReadOnly: true},
				},
			}, {
				// It must see what any user has left, in directories that are that user's alone.
				Name: "reader", Image: c.images.demo, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"sleep", "infinity"},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsUser: new(int64),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"DAC_OVERRIDE"}},
				},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "secret", MountPath: "/secret", ReadOnly: true}, {Name: "volume", MountPath: "/volume", ReadOnly: true},
				},
			}},
			Volumes: []corev1.Volume{
				{Name: "repos", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: server}}},
				{Name: "volume", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "step-runner-workspace"}}},
			},
		},
	}
}

// inPod runs a program in a container of the pod: beside the server, or in the reader, who
// sees the volume as /volume.
func (c *cluster) inPod(ctx context.Context, container string, stdin io.Reader, argv ...string) ([]byte, error) {
	args := []string{"exec", server, "--container", container}
	if stdin != nil {
		args = append(args, "-i")
	}
	return c.kubectl(ctx, stdin, append(append(args, "--"), argv...)...)
}

// newCertificate is one that vouches for itself at the address, and its key, in PEM.
func newCertificate(ip string) (cert, key string, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: server},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)},
		IsCA:        true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &signer.PublicKey, signer)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return "", "", err
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER), nil
}
